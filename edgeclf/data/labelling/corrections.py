"""Corrected labels: read from the table that a person edited, checked, and applied to a copy of the data set."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeclf.console import csv_text
from edgeclf.data.labelling.suspects import ABOUT, LEAVE_OUT, SCHEMA
from edgeclf.data.sources import some
from edgeclf.data.split import read_source, split_faults
from edgeclf.data.split_file import save_split
from edgeclf.data.table import path_in, read_rows
from edgeclf.data.table_labels import label_cells, listed_labels
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, all_labels

_DELIMITERS = ",;\t"  # of spreadsheets in other languages


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a person decided: name of an image -> its new labels, and the names of images to leave out."""

    relabelled: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]
    rows: int


def source_of(table: Path) -> Path:
    """The data that a table from `edgeclf data review` is about.

    Raises UsageError for a table that is missing, DataError where nothing beside it says what it is about.
    """
    if not table.is_file():
        raise UsageError(f"{table}: no such table; `edgeclf data review` writes one")
    about = table.with_name(ABOUT)
    if not about.is_file():
        raise DataError(
            f"{table}: no {ABOUT} lies beside it, which says what data a table of `edgeclf data review` is about; "
            "give --data"
        )
    try:
        content = parse_json(about.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        return Path(content["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{about}: does not say what data {table.name} is about ({error}); give --data") from error


def read_corrections(table: Path, data: DataSplit) -> Corrections:
    """The rows whose labels are others than the data's. Raises DataError, with the line, for what can't be meant.

    Where an image may have several labels they stand in the column `labels`, and an empty cell means none.
    """
    images = {csv_text(image.name): image for image in data.images}
    classes = {text: label for label in data.classes for text in (label, csv_text(label))}
    relabelled: dict[str, tuple[str, ...]] = {}
    left_out = []
    rows, seen = 0, dict[str, int]()
    for line, path, cell in _labels(table, "labels" if data.multi_label else "label"):
        where = f"{table}, line {line}"
        image = images.get(path)
        if image is None:
            raise DataError(f"{where}: no image {path!r} in {data.root}; review the data again, or give --data")
        if path in seen:
            raise DataError(f"{where}: {path!r} is named in line {seen[path]} already; keep one of them")
        seen[path] = line
        rows += 1
        if cell == LEAVE_OUT and LEAVE_OUT not in data.classes:
            left_out.append(image.name)
            continue
        shown = listed_labels(cell, where) if data.multi_label else (cell,)
        for label in shown:
            if label not in classes:
                raise DataError(f"{where}: {_no_class(label, data.classes)}")
        if (labels := tuple(sorted(classes[label] for label in shown))) != image.labels:
            relabelled[image.name] = labels
    return Corrections(relabelled, tuple(left_out), rows)


def _no_class(label: str, classes: tuple[str, ...]) -> str:
    if not label:
        return f"no label; write a class, or {LEAVE_OUT} to leave the image out"
    close = difflib.get_close_matches(label, classes, 1, 0.5)
    return f"the data has no class {label!r}" + (f"; meant {close[0]!r}?" if close else f", but {some(classes)}")


def _labels(table: Path, column: str) -> Iterator[tuple[int, str, str]]:
    """(line, path, cell of the column) of each row, whichever separator a spreadsheet wrote."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            heading = file.readline()
            delimiter = max(_DELIMITERS, key=heading.count)
            columns = next(csv.reader([heading], delimiter=delimiter), [])
            if lacking := [name for name in ("path", column) if name not in columns]:
                raise DataError(
                    f"{table}: no column {' and '.join(lacking)}; wanted the table that `edgeclf data review` wrote"
                )
            path, label = columns.index("path"), columns.index(column)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for cells in filter(None, reader):
                if len(cells) != len(columns):
                    raise DataError(
                        f"{table}, line {reader.line_num + 1}: {len(cells)} cells for {len(columns)} columns"
                    )
                yield reader.line_num + 1, cells[path], cells[label].strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{table}: not a valid CSV ({error})") from error
    except OSError as error:
        raise DataError(f"{table}: {error.strerror}") from error


def apply_corrections(data: DataSplit, corrections: Corrections) -> DataSplit:
    """The data with other labels; splits and groups stay. Raises DataError where nothing useful is left of it."""
    gone = set(corrections.left_out)
    images = tuple(
        replace(image, labels=corrections.relabelled.get(image.name, image.labels))
        for image in data.images
        if image.name not in gone
    )
    there = set(all_labels(images))
    classes = tuple(label for label in data.classes if label in there)
    faults = (
        split_faults(images)
        if data.has_splits
        else ((f"one class is left, {classes[0]!r}",) if len(there) == 1 and not data.multi_label else ())
    )
    if images and not there:
        faults = ("no image has any label",)
    if not images or faults:
        raise DataError(f"{data.root}: after these corrections {faults[0] if faults else 'no image is left'}")
    return replace(data, images=images, classes=classes)


def disagreeing_copies(data: DataSplit) -> tuple[str, ...]:
    """Names of images whose bytes another image has, under another label; of images that were hashed."""
    labels: dict[str, set[tuple[str, ...] | None]] = {}
    for image in data.images:
        labels.setdefault(image.sha256, set()).add(image.labels)
    return tuple(image.name for image in data.images if image.sha256 and len(labels[image.sha256]) > 1)


def default_output(source: Path) -> Path:
    """Where a corrected copy goes: beside a table or a split file; for a folder, in it, as its paths need."""
    if source.is_dir():
        return source / "corrected.csv"
    return source.with_name(f"{source.stem}-corrected{source.suffix}")


def write_corrected(source: Path, data: DataSplit, output: Path, *, force: bool = False) -> None:
    """The corrected data: a CSV keeps all its columns, a split file stays one, a folder becomes a CSV.

    Raises UsageError where a CSV would not lie above its images, and where `output` exists.
    """
    kinds = (".json",) if source.suffix.lower() == ".json" else (".csv",)
    if output.suffix.lower() not in kinds:
        raise UsageError(
            f"wanted an --output that ends in {kinds[0]}, as {source.name} needs it, found {output.name!r}"
        )
    if kinds == (".json",):
        save_split(data, output, force)
        return
    rows = _table_rows(source, data, output.parent) if source.is_file() else _folder_rows(data, output.parent)
    with writing(output, force=force) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _table_rows(table: Path, data: DataSplit, folder: Path) -> Iterator[list[str]]:
    images = {image.name: image for image in data.images}
    for number, (line, row) in enumerate(read_rows(table, several=data.multi_label)):
        if not number:
            yield list(row)
        image = images.get(Path(path_in(row, table, f"{table}, line {line}")).as_posix())
        if image is not None:
            yield list({**row, "path": _path_from(folder, image), **label_cells(image, row, data)}.values())


def _folder_rows(data: DataSplit, folder: Path) -> Iterator[list[str]]:
    yield ["path", "label", *(["split"] if data.has_splits else [])]
    for image in data.images:
        yield [_path_from(folder, image), image.label, *([image.split] if image.split else [])]


def _path_from(folder: Path, image: LabelledImage) -> str:
    path = os.path.relpath(os.path.abspath(image.path), os.path.abspath(folder))
    if path.split(os.sep)[0] == os.pardir:
        raise UsageError(f"a CSV has to lie above its images, and {folder} does not; choose another --output")
    return Path(path).as_posix()


def read_reviewed(source: Path) -> DataSplit:
    """The data of a review. Raises UsageError where it is no longer there."""
    if not source.exists():
        raise UsageError(f"{source}, which was reviewed, is no longer there; give --data")
    return read_source(source, several_labels="known")
