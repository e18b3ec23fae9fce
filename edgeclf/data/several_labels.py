"""Several labels an image: who takes such data, what they must hold, and folders where an image lies once a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage

# "refused": whoever reads the data needs one label an image. "known": both kinds are taken as they are. "wanted":
# folders are read as having several, and other data with one label an image are refused.
SeveralLabels = Literal["refused", "known", "wanted"]


def check_several_labels(found: bool, several: SeveralLabels, source: str) -> None:
    """Raises UsageError where the data have several labels an image and that is refused, or the other way round."""
    if found and several == "refused":
        refuse_several_labels(source)
    if not found and several == "wanted":
        raise UsageError(
            f"{source} has one label an image, and --multi-label makes several of image folders alone; a CSV has them "
            "in a column labels (cat|dog), or in a column of 0 and 1 a label"
        )


def refuse_several_labels(source: str) -> None:
    """What a command does that has yet to learn it."""
    raise UsageError(f"{source}: this command does not know several labels an image yet")


def check_labels(data: DataSplit, source: Path) -> None:
    """Raises DataError where no image of several labels has any, or where a label's name can't be told from two.

    In lists of labels, in a CSV that is read or one that `predict --csv` writes, | and ; stand between them.
    """
    if not data.multi_label:
        return
    check_any_label(data, source)
    if torn := [label for label in data.classes if set("|;") & set(label)]:
        raise DataError(f"{source}: the label {torn[0]!r} holds | or ;, which stand between labels; rename it")


def check_any_label(data: DataSplit, source: Path) -> None:
    """Raises DataError where images of several labels have none at all."""
    if data.multi_label and not any(image.labels for image in data.images):
        raise DataError(
            f"{source}: no image has any label; a CSV has them in a column labels (cat|dog), or in a column of 0 and 1 "
            "a label"
        )


def merge_copies(data: DataSplit) -> DataSplit:
    """The data of hashed class folders, where files with the same bytes are one image with the labels of all of them.

    They are links or copies. An image that lies in several splits stays in each of them, for `data check` to find.
    """
    together: dict[tuple[str, str | None], list[LabelledImage]] = {}
    for image in data.images:
        together.setdefault((image.sha256, image.split), []).append(image)
    merged = tuple(_merged(copies) for copies in together.values())
    return replace(data, images=merged, multi_label=True)


def _merged(copies: Sequence[LabelledImage]) -> LabelledImage:
    labels = {label for copy in copies for label in copy.labels or ()}
    return replace(copies[0], labels=tuple(sorted(labels)))
