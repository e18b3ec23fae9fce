"""A labelled image: where its file lies, what it shows, and the hash that shows whether it is still the same file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError, ImageChanged
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.decode import decode, find_images
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.pixels import Pixels

Split = Literal["train", "val", "test"]
SplitOrAll = Literal["test", "val", "train", "all"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
CHANGED = "changed since its SHA-256 was taken; bring the old file back, or split anew"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file and what is known of it. Files are read anew each time; nothing is kept in memory.

    Attributes
    ----------
    root
        The folder that its data lie under; paths are made from it when they are needed, since a million take time.
    name
        The path from the root, with forward slashes: what messages, tables and reports show.
    labels
        The names of its classes; None: nobody knows. Names, since numbers depend on a model's order of classes; and a
        tuple, since an image may be of several classes, or of none of them.
    sha256
        Of the file's bytes; empty: not hashed yet.
    group
        Ties images together that must not be parted: a patient, a film, a burst of shots.
    split
        None where the data have no splits yet.
    """

    root: Path
    name: str
    labels: tuple[str, ...] | None = None
    sha256: str = ""
    group: str | None = None
    split: Split | None = None

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def label(self) -> str:
        """The class of an image that is of exactly one. Raises DataError for any other."""
        if self.labels is None or len(self.labels) != 1:
            raise DataError(
                f"{self.path}: wanted an image of one class, found {', '.join(self.labels or ()) or 'none'}"
            )
        return self.labels[0]

    @property
    def label_text(self) -> str:
        """Its labels as people read them: "cat", "cat + dog", "no label"."""
        return " + ".join(self.labels or ()) or "no label"

    def read(self) -> bytes:
        """The bytes of the file. Raises ImageChanged, without the path, where it is gone or not the one hashed."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            gone = self.sha256 and isinstance(error, FileNotFoundError)
            why = "missing; it was there when its SHA-256 was taken" if gone else error.strerror or str(error)
            raise ImageChanged(why) from error
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            raise ImageChanged(CHANGED)
        return content

    def check(self, value_range: tuple[float, float] | None = None) -> None:
        """Raises ImageError unless it can be read and decoded."""
        content = self.read()
        with BUDGET.share() as reserve:
            decode(content, value_range=value_range, reserve=reserve)

    def load(self, pixels: Pixels) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB as the device sees it. Raises ImageError."""
        content = self.read()
        with BUDGET.share() as reserve:
            return pixels.load(content, reserve=reserve)[0]


def class_numbers(images: Sequence[LabelledImage], classes: Sequence[str]) -> NDArray[np.intp]:
    """(N,) the number of each image's class in `classes`."""
    places = {label: number for number, label in enumerate(classes)}
    return np.array([places[image.label] for image in images], dtype=np.intp)


def label_targets(images: Sequence[LabelledImage], classes: Sequence[str]) -> NDArray[np.float32]:
    """(N, classes) 1 where an image has the label, else 0; for images of several labels, of one, or of none."""
    places = {label: number for number, label in enumerate(classes)}
    targets = np.zeros((len(images), len(classes)), dtype=np.float32)
    for row, image in zip(targets, images, strict=True):
        row[[places[label] for label in image.labels or ()]] = 1
    return targets


def all_labels(images: Iterable[LabelledImage]) -> Iterator[str]:
    """Each label of each image, one after the other."""
    return (label for image in images for label in image.labels or ())


def hash_image(path: Path) -> str:
    """SHA-256 of an image file. Raises DataError where it can't be read."""
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def read_folder(folder: Path, labels: Sequence[str]) -> tuple[LabelledImage, ...]:
    """The images under a folder; the class of one is the first folder on its way, where all are labels' names.

    Raises DataError where a file can't be read, or only some of the folders are named like labels.
    """
    files = find_images(folder)[0]
    names = [file.relative_to(folder) for file in files]
    classes = {name.parts[0] for name in names}
    known = classes & set(labels)
    if known and (strangers := sorted(classes - known)):
        raise DataError(
            f"{folder}: {strangers[0]!r} is no label of the model, others such as {min(known)!r} are; name every "
            "folder like a label, or none"
        )
    return tuple(
        LabelledImage(folder, name.as_posix(), (name.parts[0],) if known else None, hash_image(file))
        for file, name in zip(files, names, strict=True)
    )
