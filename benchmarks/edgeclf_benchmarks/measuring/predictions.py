"""Every row's answers to the same labelled images, judged: only images that all of them could read count."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.contenders import Contender
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.text.unicode_forms import shown_names

Origin = Literal["whole", "given", "own", "drawn"]
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled image: `name` is its path from the data's root, `number` that of its class, `sha256` the file's."""

    path: Path
    name: str
    number: int
    group: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images that rows shall answer, and what the report says of them.

    Attributes
    ----------
    digest
        Of the whole split manifest.
    training_images
        Images of its training split, for bundles that were trained on it.
    left_out
        Images of the split that were not drawn, to end in time.
    origin
        Where the splits come from: "whole" (there were none, and all images are evaluated), "given", "own" (a bundle
        was trained with them), "drawn" (by chance, here).
    of_images
        Images of the data, all splits together.
    validation_images
        How many of `images` are validation images.
    classes_present
        How many of `classes` have images, where it need not be all of them (--classes present).
    record_use
        Writes down that a bundle is evaluated on these test images, and returns which use of them it is, from 1.
        None: no test images.
    """

    name: str
    digest: str
    split: str
    classes: tuple[str, ...]
    images: tuple[Labelled, ...]
    training_images: int
    left_out: int = 0
    record_use: Callable[[Bundle], int] | None = None
    origin: Origin | None = None
    of_images: int | None = None
    validation_images: int = 0
    classes_present: int | None = None


def check_classes(bundle: Bundle, data: LabelledImages) -> None:
    """Raises DataError unless the bundle knows exactly the classes of the data; their order may differ."""
    labels, classes = set(bundle.manifest.labels), set(data.classes)
    if labels == classes:
        return
    advice = "give --data that it was trained for, or bench it without"
    if classes < labels:
        advice = "--classes present evaluates on the classes that the data has"
    here = ", ".join(shown_names(sorted(labels - classes)[:3], beside=classes - labels)) or "none"
    there = ", ".join(shown_names(sorted(classes - labels)[:3], beside=labels - classes)) or "none"
    raise DataError(
        f"{bundle.name} has {len(labels)} classes and {data.name} {len(classes)}, not the same (only in the bundle: "
        f"{here}; only in the data: {there}); {advice}"
    )


def selected_on(manifest: Manifest, data_sha256: str) -> bool:
    """Whether the validation images of a split selected what this bundle is: best epoch, temperature, precision.

    The classical baseline selects nothing on them but its thresholds, where it has some.
    """
    if manifest.provenance.data_sha256 != data_sha256:
        return False
    thresholds = manifest.thresholds
    has_thresholds = thresholds.unknown_below is not None or thresholds.per_class is not None
    return manifest.target != "hog-svm" or has_thresholds


def read_checked(image: Labelled) -> bytes:
    """The bytes of an image, once their hash is known to be the split's. Raises DataError."""
    try:
        data = image.path.read_bytes()
    except OSError as error:
        raise DataError(f"{image.path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise DataError(f"{image.path}: changed since the split was made; split anew, or bring the old file back")
    return data


def readable(images: Sequence[Labelled], tell: Callable[[int], None]) -> tuple[tuple[Labelled, ...], dict[str, str]]:
    """The images that can be decoded, and why the others can't; `tell` hears how many were looked at."""

    def fault(image: Labelled) -> str | None:
        try:
            decode(read_checked(image))
        except ImageError as error:
            return str(error)
        return None

    faults: dict[str, str] = {}
    kept = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="edgeclf-decode") as threads:
        for start in range(0, len(images), 64):
            group = images[start : start + 64]
            for image, found in zip(group, threads.map(fault, group), strict=True):
                if found is None:
                    kept.append(image)
                else:
                    faults[image.name] = found
            tell(start + len(group))
    if not kept:
        raise DataError(f"none of the {len(images)} images could be read, the first: {next(iter(faults.items()))}")
    return tuple(kept), faults


def ask(
    contender: Contender, images: Sequence[Labelled], options: SessionOptions, tell: Callable[[int], None]
) -> NDArray[np.float32]:
    """(N, classes) outputs in the contender's own order of classes; `tell` hears how many are done."""
    opened = contender.open(options)
    try:
        outputs = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="edgeclf-read") as threads:
            size = min(_BATCH, contender.largest_batch or _BATCH)
            for group in _groups(images, size):
                prepared = list(threads.map(lambda image: opened.prepare([read_checked(image)]), group))
                outputs += [opened.infer(prepared[0])] if len(group) == 1 else [opened.infer(np.concatenate(prepared))]
                tell(sum(map(len, outputs)))
        return np.concatenate(outputs).astype(np.float32)
    finally:
        opened.close()


def in_order_of(classes: Sequence[str], outputs: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Outputs whose columns are the classes of the data."""
    places = {label: number for number, label in enumerate(manifest.labels)}
    return outputs[:, [places[label] for label in classes]]


def _groups(images: Sequence[Labelled], size: int) -> Iterator[Sequence[Labelled]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]
