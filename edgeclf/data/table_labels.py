"""The labels of a CSV's row: one in `label`, several in `labels`, or a column of 0 and 1 for each label."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage

OPTIONAL = ("split", "group")
NAMED = ("path", "label", "labels", *OPTIONAL)  # the columns that mean something whatever the labels are
_BETWEEN = re.compile(r"[|;]")
_BITS = {"0": False, "1": True, "0.0": False, "1.0": True}  # pandas writes floats where a cell was empty once


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """How a table says what its images show.

    Attributes
    ----------
    multi_label
        Whether a row may have several labels, or none.
    classes
        The labels that columns are named after; empty: they are those that rows have.
    read
        (row, "TABLE, line N") -> the labels of the row, sorted. Raises DataError for cells that can't be meant.
    """

    multi_label: bool
    classes: tuple[str, ...]
    read: Callable[[Mapping[str, str], str], tuple[str, ...]]


def label_columns(row: Mapping[str, str], table: Path) -> LabelColumns:
    """How the table of this first row does it. Raises DataError where it has labels in no way, or in two."""
    if "label" in row and "labels" in row:
        raise DataError(f"{table}: a column label and a column labels; keep the one that holds")
    if "label" in row:
        return LabelColumns(False, (), _one_label)
    if "labels" in row:
        return LabelColumns(True, (), _listed_labels)
    columns = tuple(sorted(set(row) - set(NAMED)))
    if not any(row[name].strip() in _BITS for name in columns):
        refuse_columns(["label"], list(row), table)
    if "" in columns:
        raise DataError(f"{table}: a column without a name; name it as its label, or remove it")
    return LabelColumns(True, columns, lambda row, where: _marked_labels(row, columns, where))


def refuse_columns(lacking: Sequence[str], found: Sequence[str], table: Path) -> None:
    """Raises DataError that says what was wanted."""
    listed = ", ".join(map(repr, found)) or "none"
    raise DataError(
        f"{table}: no column {' and '.join(lacking)}; wanted path,label[,split][,group], found {listed} (several "
        "labels an image: a column labels such as cat|dog, or a column of 0 and 1 for each)"
    )


def _one_label(row: Mapping[str, str], where: str) -> tuple[str, ...]:
    if not (label := row["label"].strip()):
        raise DataError(f"{where}: no label")
    return (label,)


def cell_of_labels(row: Mapping[str, str]) -> str:
    """What a row says in its column `label` or `labels`; "" where it has neither."""
    return row.get("label", row.get("labels", ""))


def label_cells(image: LabelledImage, columns: Collection[str], data: DataSplit) -> dict[str, str]:
    """The labels of an image as the cells of a table with these columns, in the way that the table has labels."""
    shown = image.labels or ()
    if not data.multi_label:
        return {"label": image.label}
    if "labels" in columns:
        return {"labels": "|".join(shown)}
    return {label: str(int(label in shown)) for label in columns if label not in NAMED}


def _listed_labels(row: Mapping[str, str], where: str) -> tuple[str, ...]:
    return listed_labels(row["labels"], where)


def listed_labels(text: str, where: str) -> tuple[str, ...]:
    """ "dog|cat" -> the labels, sorted. Raises DataError, with `where`, for an empty or repeated one."""
    if not (cell := text.strip()):
        return ()
    labels = [label.strip() for label in _BETWEEN.split(cell)]
    if not all(labels):
        raise DataError(f"{where}: an empty label in {cell!r}; write cat|dog, or nothing where no label holds")
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise DataError(f"{where}: the label {twice[0]!r} is there twice in {cell!r}; keep one of them")
    return tuple(sorted(labels))


def refuse_joined(labels: Mapping[str, str]) -> None:
    """Raises DataError where a label looks like several with a comma between them: one of its parts is a label, too.

    `labels`: each with where it stands first, "TABLE, line N".
    """
    for label, where in labels.items():
        if any(part.strip() in labels for part in label.split(",") if part != label):
            raise DataError(
                f"{where}: {label!r} is read as one label, and a part of it is one by itself; write | or ; between "
                "labels, or rename it if it is one"
            )


def _marked_labels(row: Mapping[str, str], columns: Sequence[str], where: str) -> tuple[str, ...]:
    for name in columns:
        if row[name].strip() not in _BITS:
            raise DataError(
                f"{where}: {row[name]!r} in the column {name!r}; a label's column holds 0 or 1, so remove other columns"
            )
    return tuple(name for name in columns if _BITS[row[name].strip()])
