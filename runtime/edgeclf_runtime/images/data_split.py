"""Labelled images parted into those that train, validate and test; before that, the images as they were found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeclf_runtime.images.labelled import LabelledImage, Split
from edgeclf_runtime.portable_paths import stays_inside

Fractions = tuple[float, float, float]
FRACTIONS: Fractions = (0.7, 0.15, 0.15)
_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSplit:
    """Labelled images, their classes, and the split that each is in, if any.

    Attributes
    ----------
    root
        The folder that all images lie under.
    classes
        Names, sorted; where a model's are given, in its order.
    seed, fractions
        What the split was drawn with.
    multi_label
        Whether an image may have several labels, or none; else each has exactly one.
    passed_over
        Files under the root that are no images.
    """

    root: Path
    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    seed: int = 0
    fractions: Fractions = FRACTIONS
    multi_label: bool = False
    passed_over: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        known = set(self.classes)
        if len(known) != len(self.classes):
            raise ValueError("a class is listed twice")
        names = [image.name for image in self.images]
        for name in names:
            if not stays_inside(name):
                raise ValueError(f"the path {name!r} does not stay under the root")
        # a million images have a few different sets of labels: each is checked once, on one of its images
        for labels, name in {image.labels or (): image.name for image in self.images}.items():
            if unknown := set(labels) - known:
                raise ValueError(f"the class {min(unknown)!r} of {name!r} is none of its classes")
            if len(set(labels)) != len(labels):
                raise ValueError(f"a label of {name!r} is listed twice")
        if len(set(names)) != len(names):
            raise ValueError("an image is listed twice")

    @property
    def name(self) -> str:
        """The name of the root's folder."""
        return self.root.resolve().name

    @property
    def has_splits(self) -> bool:
        return any(image.split for image in self.images)

    @property
    def digest(self) -> str:
        """SHA-256 of names, labels, splits, hashes and groups. The root and the order don't matter."""
        images = sorted(self.images, key=lambda image: image.name)
        canonical = hashlib.sha256(b"[")  # of all rows as one JSON list, of which a part at a time is in memory
        for start in range(0, len(images), _ROWS):
            rows = json.dumps([self.row(image) for image in images[start : start + _ROWS]])[1:-1]
            canonical.update(f"{', ' if start else ''}{rows}".encode())
        canonical.update(b"]")
        return canonical.hexdigest()

    def row(self, image: LabelledImage) -> dict[str, Any]:
        """An image as split files hold it; digests are taken of that, so it never changes for images of one class."""
        labels = {"labels": sorted(image.labels or ())} if self.multi_label else {"label": image.label}
        return {
            "path": image.name,
            **labels,
            "split": image.split,
            "sha256": image.sha256,
            "group": image.group,
        }

    def of(self, split: Split) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.images if image.split == split)


@dataclass(frozen=True)
class LabelledData:
    """The split that a classifier was trained with, for INT8.

    Attributes
    ----------
    called
        Of which run or folder, for messages.
    count_use
        Records that the test images are used to evaluate a model of this digest, and returns a sentence about it.
    """

    split: DataSplit
    called: str
    count_use: Callable[[str], str]
