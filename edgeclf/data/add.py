"""New labelled images into an existing data set: into train and val, never into test, and no copy of a test image."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from edgeclf.data.assign import chance, join_pairs
from edgeclf.data.hashed import hash_images
from edgeclf.data.likeness import find_alike, likeness_of
from edgeclf.data.sources import some
from edgeclf.data.split_file import save_split
from edgeclf.data.table import read_rows
from edgeclf.data.table_labels import label_cells
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, Split, all_labels
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.progress import SILENT, Progress

Refused = Literal["like a test image", "in a group of test images", "there already", "unreadable"]


@dataclass(frozen=True, slots=True)
class NotAdded:
    """An image that is left out, why, and the image of the data that it looks like, if that is why."""

    name: str
    why: Refused
    like: str = ""


@dataclass(frozen=True, slots=True)
class Addition:
    """Images as they will lie in the data set, where each comes from, and those that are left out."""

    data: DataSplit
    added: tuple[LabelledImage, ...]
    origins: tuple[Path, ...]
    left_out: tuple[NotAdded, ...]


def plan_addition(new: DataSplit, data: DataSplit, progress: Progress = SILENT) -> Addition:
    """Which of the new images go where.

    An image that looks like one of train or val goes to its split; look-alikes among the new ones stay together; the
    others go to val by a hash of their bytes, in the share that val has now.

    Raises
    ------
    UsageError
        The data has no splits.
    DataError
        A class that the data does not have.
    GateError
        Nothing is left to add.
    """
    if not data.of("test"):
        raise UsageError(
            f"{data.root} has no test split to keep apart: `edgeclf data split` makes one, then add to that split file"
        )
    if strange := sorted(set(all_labels(new.images)) - set(data.classes)):
        raise DataError(
            f"{new.root}: the data has no class {some(map(repr, strange))}, and none is added: correct the label; "
            "or, for a new class, give its images a folder in the data and split anew with `edgeclf data split`"
        )
    new, data = hash_images(new), hash_images(data, progress)
    fresh, left_out, ties = _compared(new, data, progress)
    if not fresh:
        raise GateError(f"none of {len(new.images)} images can be added: {some(_sentence(each) for each in left_out)}")
    splits = _splits(fresh, ties, data)
    added, taken = [], {image.name for image in data.images}
    for image, split in zip(fresh, splits, strict=True):
        name = _free_name(image, split, data, taken)
        taken.add(name)
        added.append(replace(image, root=data.root, name=name, split=split))
    extended = replace(data, images=(*data.images, *added))
    return Addition(extended, tuple(added), tuple(image.path for image in fresh), tuple(left_out))


def _sentence(each: NotAdded) -> str:
    return f"{each.name} is {each.why}" + (f" ({each.like})" if each.like else "")


def _compared(
    new: DataSplit, data: DataSplit, progress: Progress
) -> tuple[list[LabelledImage], list[NotAdded], list[tuple[str, Split | None]]]:
    """(images to add, those left out, for each to add its cluster and the split that it is tied to)."""
    images = [*data.images, *new.images]
    found = list(progress.track(in_threads(likeness_of, [each.path for each in images]), len(images), "compare"))
    readable = [place for place, likeness in enumerate(found) if likeness is not None]
    pairs, _ = find_alike([likeness for likeness in found if likeness is not None])
    ties = [(readable[pair.first], readable[pair.second]) for pair in pairs]
    ties += _shared([image.sha256 for image in images])
    clusters = join_pairs(
        len(images),
        [tie for tie in (*ties, *_shared([image.group for image in images])) if min(tie) >= len(data.images)],
    )
    groups = {image.group: image for image in data.images if image.group is not None}
    cluster_of = {place: str(cluster[0]) for cluster in clusters for place in cluster}
    twins: dict[int, list[int]] = {}
    for first, second in ties:
        if first < len(data.images) <= second:
            twins.setdefault(second, []).append(first)
    fresh, left_out, marks = [], [], []
    for place in range(len(data.images), len(images)):
        image, like = images[place], [data.images[twin] for twin in twins.get(place, [])]
        of_group = None if image.group is None else groups.get(image.group)
        tested = next((each for each in like if each.split == "test"), None)
        same = next((each for each in like if each.sha256 == image.sha256), None)
        if found[place] is None:
            left_out.append(NotAdded(image.name, "unreadable"))
        elif tested is not None:
            left_out.append(NotAdded(image.name, "like a test image", tested.name))
        elif of_group is not None and of_group.split == "test":
            left_out.append(NotAdded(image.name, "in a group of test images", of_group.name))
        elif same is not None:
            left_out.append(NotAdded(image.name, "there already", same.name))
        else:
            fresh.append(image)
            tied = of_group or next(iter(like), None)
            marks.append((cluster_of[place], tied.split if tied else None))
    return fresh, left_out, marks


def _shared(names: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    """Pairs of places with the same name: the hash of their bytes, say, for images of one colour are never alike."""
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if name is not None and (known := first.setdefault(name, place)) != place:
            yield known, place


def _splits(fresh: Sequence[LabelledImage], ties: Sequence[tuple[str, Split | None]], data: DataSplit) -> list[Split]:
    val, train = len(data.of("val")), len(data.of("train"))
    share = val / (val + train) if val + train else 0.0
    tied = {cluster: split for cluster, split in ties if split is not None}
    first: dict[str, str] = {}
    for image, (cluster, _) in zip(fresh, ties, strict=True):
        first.setdefault(cluster, image.sha256)
    drawn: dict[str, Split] = {
        cluster: "val" if int.from_bytes(chance(0, sha256)[:8], "big") / 2**64 < share else "train"
        for cluster, sha256 in first.items()
    }
    return [tied.get(cluster) or drawn[cluster] for cluster, _ in ties]


def _free_name(image: LabelledImage, split: Split, data: DataSplit, taken: set[str]) -> str:
    """Beside images of its class and split, where there are any: a later `data split` finds it there.

    Where an image may have several labels, beside one that has the same, else beside any of its split.
    """
    beside_ = [each for each in data.images if each.labels == image.labels and each.split == split]
    beside_ = beside_ or [each for each in data.images if each.labels == image.labels]
    beside_ = beside_ or [each for each in data.images if each.split == split] or list(data.images)
    folder = PurePosixPath(beside_[0].name).parent
    stem, suffix = Path(image.name).stem, Path(image.name).suffix
    name = str(folder / f"{stem}{suffix}")
    if name in taken or (data.root / name).exists():
        name = str(folder / f"{stem}-{image.sha256[:12]}{suffix}")
    if name in taken or (data.root / name).exists():
        raise DataError(f"{data.root / name} is there already; move it away, or rename {image.path}")
    return name


def write_addition(addition: Addition, source: Path, output: Path | None, *, force: bool = False) -> Path | None:
    """Copies the images beside those of the data, and writes the new split file or table; None: a folder needs none.

    The old file stays as it is, and so does the meaning of it.
    """
    place = None if source.is_dir() else (output or _added(source))
    if place is not None and place.exists() and not force:
        raise UsageError(f"{place} exists; give --force to replace it, or another --output")
    for image, origin in zip(addition.added, addition.origins, strict=True):
        with writing(image.path) as draft:
            shutil.copyfile(origin, draft)
    if place is None:
        return None
    if place.suffix.lower() == ".json":
        save_split(addition.data, place, force)
        return place
    if place.parent.resolve() != source.parent.resolve():
        raise UsageError(f"the new table lies beside {source}, as its paths need; choose {source.parent / place.name}")
    with writing(place, force=force) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_rows(addition, source))
    return place


def _rows(addition: Addition, table: Path) -> Iterator[list[str]]:
    """The table's own rows and one an image; with a column of groups, where it had none and these have some."""
    columns: list[str] = []
    for _, row in read_rows(table, several=addition.data.multi_label):
        if not columns:
            with_groups = "group" not in row and any(image.group for image in addition.added)
            columns = [*row, *(["group"] if with_groups else [])]
            yield columns
        yield [row.get(column, "") for column in columns]
    for image in addition.added:
        cells = {"path": image.name, "split": image.split or "", "group": image.group or ""}
        cells |= label_cells(image, columns, addition.data)
        yield [cells.get(column, "") for column in columns]


def _added(source: Path) -> Path:
    return source.with_name(f"{source.stem}-added{source.suffix}")
