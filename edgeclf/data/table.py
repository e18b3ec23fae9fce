"""A CSV of labelled images: `path`, labels and perhaps `split` and `group`, with paths from the CSV's own folder."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.data.sources import parse_split, some
from edgeclf.data.table_labels import (
    NAMED,
    OPTIONAL,
    LabelColumns,
    cell_of_labels,
    label_columns,
    listed_labels,
    refuse_columns,
    refuse_joined,
)
from edgeclf.wording import NO_LABEL
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, Split, all_labels

_NEEDED = ("path", "label")


@dataclass(frozen=True, slots=True)
class Rows:
    """The images of a CSV, in its order, and their classes; `multi_label`: with any number of labels each."""

    images: tuple[LabelledImage, ...]
    classes: tuple[str, ...]
    multi_label: bool


def read_table(table: Path, *, skip_unlabelled: bool = False) -> Rows:
    """The images of a CSV. Beside a column `label` or `labels`, columns of other names are ignored.

    `skip_unlabelled`: rows whose cell is empty are passed over, since nobody has filled them in yet; in a column
    `labels`, "no label" says that an image shows none.

    Raises DataError with the line's number: columns missing, cells empty, files missing or outside, rows repeated.
    """
    images: list[LabelledImage] = []
    lines: dict[str, int] = {}  # path -> the line that named it first
    missing = []
    columns: LabelColumns | None = None
    for line, row in read_rows(table, several=True):
        where = f"{table}, line {line}"
        columns = columns or label_columns(row, table)
        if skip_unlabelled and not cell_of_labels(row).strip():
            continue
        if skip_unlabelled and columns.multi_label:
            row = _without_no_label(row, where)
        relative = path_in(row, table, where)
        if relative in lines:
            raise DataError(f"{where}: {relative!r} is named in line {lines[relative]} already; keep one of them")
        lines[relative] = line
        if fault := _fault_of(table.parent / relative):
            missing.append(f"{relative!r} (line {line}: {fault})")
        images.append(
            LabelledImage(
                table.parent,
                Path(relative).as_posix(),
                columns.read(row, where),
                group=row.get("group") or None,
                split=_split(row.get("split"), where),
            )
        )
    if missing:
        raise DataError(f"{table} names files that can't be used: {some(missing)}")
    if not images or columns is None:
        raise DataError(f"{table}: no rows, so no images")
    _check_splits(images, table)
    if columns.multi_label and not columns.classes:
        first: dict[str, str] = {}
        for image, line in zip(images, lines.values(), strict=True):
            for label in image.labels or ():
                first.setdefault(label, f"{table}, line {line}")
        refuse_joined(first)
    return Rows(tuple(images), columns.classes or tuple(sorted(set(all_labels(images)))), columns.multi_label)


def _without_no_label(row: Mapping[str, str], where: str) -> Mapping[str, str]:
    """A row of a sheet whose "no label" is an empty cell. Raises DataError where labels stand beside it."""
    cell = cell_of_labels(row)
    if cell.strip() == NO_LABEL:
        return {**row, "labels": ""}
    if NO_LABEL in listed_labels(cell, where):
        raise DataError(f"{where}: {NO_LABEL!r} stands beside labels in {cell!r}; write one or the other")
    return row


def read_rows(table: Path, *, several: bool = False) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line number and cells by the column's name, those that mean something in lower case; all columns, in their order.

    `several`: the labels may be written in another way than in a column `label`.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            columns = [_column(name) for name in next(reader, [])]
            _check_columns(columns, table, several=several)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{table}, line {reader.line_num}: {len(cells)} cells for {len(columns)} columns; "
                        "put names with commas in double quotes"
                    )
                yield reader.line_num, dict(zip(columns, cells, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{table}: not a valid CSV ({error})") from error
    except OSError as error:
        raise DataError(f"{table}: {error.strerror}") from error


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in NAMED else name


def _check_columns(columns: Sequence[str], table: Path, *, several: bool) -> None:
    lacking = [name for name in _NEEDED if name not in columns]
    elsewhere = several and lacking == ["label"] and bool(set(columns) - {"path", *OPTIONAL})
    if lacking and not elsewhere:
        refuse_columns(lacking, columns, table)
    for name in columns if elsewhere and "labels" not in columns else NAMED:
        if columns.count(name) > 1:
            raise DataError(f"{table}: two columns {name!r}")


def _with_slashes(text: str, folder: Path) -> str:
    """The path as Windows wrote it (`cats\\1.jpg`) with forward slashes, unless a file here has that very name."""
    if "\\" not in text or os.path.lexists(folder / text):
        return text
    return text.replace("\\", "/")


def path_in(row: Mapping[str, str], table: Path, where: str) -> str:
    """The path in a row, from the folder of the table. Raises DataError, with `where`, for one that leaves it."""
    return _relative_path(_with_slashes(row["path"], table.parent), where)


def _relative_path(text: str, where: str) -> str:
    """The path without detours. Refused: absolute ones, and those that leave the CSV's folder."""
    if not text:
        raise DataError(f"{where}: no path")
    if os.path.isabs(text):
        raise DataError(f"{where}: the path {text!r} is absolute; write it as seen from the CSV's folder")
    relative = os.path.normpath(text)
    if relative.split(os.sep)[0] == os.pardir:
        raise DataError(f"{where}: the path {text!r} leaves the CSV's folder; put the CSV above its images")
    return relative


def _fault_of(path: Path) -> str | None:
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "no file"
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:  # a null byte in the name
        return str(error)


def _split(text: str | None, where: str) -> Split | None:
    if not text:
        return None
    split = parse_split(text.strip())
    if split is None:
        raise DataError(f"{where}: no split {text!r}; choose one of {', '.join(SPLITS)}, or leave the column out")
    return split


def _check_splits(images: list[LabelledImage], table: Path) -> None:
    without = sum(image.split is None for image in images)
    if 0 < without < len(images):
        raise DataError(f"{table}: {without} of {len(images)} rows have no split; give it for all rows or for none")
