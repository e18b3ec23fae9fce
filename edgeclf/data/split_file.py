"""Split files: a data split as JSON that moves with its images, read back strictly."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from edgeclf.data.several_labels import SeveralLabels, check_several_labels
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit, Fractions
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, Split

SCHEMA = 1
_ROWS = 1000  # that are written at once
_PLAIN = itemgetter("path", "label", "split", "sha256", "group")


@dataclass(frozen=True, slots=True)
class _Row:
    """Of an image: with one `label`, or in a file that is `multi_label` with any number of `labels`."""

    path: str
    split: Split
    sha256: str
    group: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None

    def labels_in(self, multi_label: bool) -> tuple[str, ...]:
        if (self.labels is None) == multi_label or (self.label is None) != multi_label:
            raise ValueError(f"{self.path!r} wants the field {'labels' if multi_label else 'label'}, and no other")
        return self.labels or () if self.label is None else (self.label,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What the file holds beside `items`; `root` is relative where the images lie beside or below the file."""

    schema: int
    root: str
    classes: tuple[str, ...]
    seed: int
    fractions: Fractions
    multi_label: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"wanted two classes or more, found {len(self.classes)}")


def save_split(data: DataSplit, path: Path, force: bool = False) -> None:
    """Writes the split in one step. Images that lie beside or below it are noted as such: both can move together."""
    root, folder = data.root.resolve(), path.parent.resolve()
    noted = root.relative_to(folder) if root.is_relative_to(folder) else root
    content = {
        "schema": SCHEMA,
        "root": noted.as_posix(),
        "classes": data.classes,
        "seed": data.seed,
        "fractions": data.fractions,
        **({"multi_label": True} if data.multi_label else {}),
    }
    with writing(path, force=force) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_text(content, data))


def _text(content: Mapping[str, Any], data: DataSplit) -> Iterator[str]:
    """The file in parts, as `json.dumps` with an indent of 1 would write it whole, in twice the memory."""
    encoder = json.JSONEncoder(indent=1)
    if not data.images:
        yield encoder.encode({**content, "items": []}) + "\n"
        return
    before, after = encoder.encode({**content, "items": [None]}).rsplit("\n  null", 1)
    for start in range(0, len(data.images), _ROWS):
        rows = encoder.encode([data.row(image) for image in data.images[start : start + _ROWS]])
        yield before + rows.removeprefix("[").removesuffix("\n]").replace("\n", "\n ")
        before = ","
    yield after + "\n"


def load_split(
    path: Path, root: Path | None = None, *, several_labels: SeveralLabels = "refused", called: str | None = None
) -> DataSplit:
    """The split in a file. `root`: the folder of the images where it is no longer the one that is noted there.

    Raises UsageError where the file is missing, or where it has several labels an image and they are refused, with the
    name `called`; DataError for a damaged or newer one and for images that moved.
    """
    with _collector_paused():
        content = _content(path)
        rows = content.pop("items")
        file = from_json(_File, content, str(path))
        check_several_labels(file.multi_label, several_labels, called or str(path))
        place = path.parent.resolve() / file.root if root is None else root
        try:
            place = place.resolve()
            is_there = place.is_dir()
        except (OSError, ValueError):  # a name that no system has
            is_there = False
        if not is_there:
            found = f"{str(place)!r:.200}"
            raise DataError(
                f"{path}: its images were in {found}, which is no longer a folder; move them back, or split again"
            )
        try:
            return DataSplit(
                root=place,
                classes=file.classes,
                images=_images(rows, place, str(path), multi_label=file.multi_label),
                seed=file.seed,
                fractions=file.fractions,
                multi_label=file.multi_label,
            )
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error


def _images(rows: Any, root: Path, where: str, *, multi_label: bool) -> tuple[LabelledImage, ...]:
    """The images of the rows. Raises DataError, and ValueError for labels of the wrong kind."""
    columns = None if multi_label else _plain_columns(rows)
    if columns is not None:
        shared = {label: (label,) for label in columns[1]}
        return tuple(
            LabelledImage(root, path, shared[label], sha256, group, split)
            for path, label, split, sha256, group in zip(*columns, strict=True)
        )
    return tuple(
        LabelledImage(root, row.path, row.labels_in(multi_label), row.sha256, row.group, row.split)
        for row in from_json(tuple[_Row, ...], rows, f"{where}.items")
    )


def _plain_columns(rows: Any) -> tuple[tuple[Any, ...], ...] | None:
    """The columns of rows as `save_split` writes them for one label an image, checked column by column.

    None for any others: row by row, which takes three times as long, tells what they are.
    """
    try:
        columns = tuple(zip(*map(_PLAIN, rows), strict=True))
    except (KeyError, TypeError):
        return None
    kinds = [set(map(type, column)) for column in columns]
    plain = (
        set(map(type, rows)) == {dict}
        and set(map(len, rows)) == {len(columns)}
        and all(kind == {str} for kind in kinds[:-1])
        and kinds[-1] <= {str, type(None)}
        and set(columns[2]) <= set(SPLITS)
    )
    return columns if plain else None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No search for garbage while millions of objects are made, all to stay: half of the time of a large split."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _content(path: Path) -> Any:
    try:
        content: Any = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path}: no such split manifest; `edgeclf data split` makes one") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); make the split again") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int or "items" not in content:
        raise DataError(f"{path}: not a split manifest; `edgeclf data split SOURCE -o {path.name}` makes one")
    if content["schema"] != SCHEMA:
        advice = "update edgeclf" if content["schema"] > SCHEMA else "make the split again"
        raise DataError(f"{path}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; {advice}")
    return content
