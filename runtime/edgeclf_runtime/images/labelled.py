"""Labelled images as plain sequences: what an INT8 model is calibrated on, chosen by and judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.decode import find_images


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image file, the number of its class (None: nobody knows) and the SHA-256 of its bytes.

    `group` ties images together that must not be parted.
    """

    path: Path
    label: int | None
    sha256: str
    group: str | None = None


@dataclass(frozen=True)
class LabelledData:
    """The splits of a data set that a classifier was trained with.

    Attributes
    ----------
    called
        Of which run or folder, for messages.
    count_use
        Records that the test images are used to evaluate a model of this digest, and says so in a sentence.
    """

    train: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]
    test: tuple[LabelledImage, ...]
    called: str
    count_use: Callable[[str], str]


def read_folder(folder: Path, labels: Sequence[str]) -> tuple[LabelledImage, ...]:
    """The images under a folder; the right class of one is the first folder on its way, where all are labels' names.

    Raises DataError where a file can't be read, or only some of the folders are named like labels.
    """
    files = find_images(folder)[0]
    classes = [file.relative_to(folder).parts[0] for file in files]
    known = {label: number for number, label in enumerate(labels)}
    named = {name for name in classes if name in known}
    if named and (strangers := sorted(set(classes) - named)):
        raise DataError(
            f"{folder}: {strangers[0]!r} is no label of the model, others such as {min(named)!r} are; name every "
            "folder like a label, or none"
        )
    return tuple(LabelledImage(file, known.get(name), _hash(file)) for file, name in zip(files, classes, strict=True))


def _hash(file: Path) -> str:
    try:
        return hash_file(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
