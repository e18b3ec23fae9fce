"""Labelled images on disk: a folder a class, `train|val|test` folders of those, or a CSV of paths and labels."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeclf.data.hashed import hash_images
from edgeclf.data.several_labels import SeveralLabels, check_labels, check_several_labels, merge_copies
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import is_passed_over
from edgeclf_runtime.images.formats import EXTENSIONS
from edgeclf_runtime.images.labelled import LabelledImage, Split, all_labels
from edgeclf_runtime.progress import SILENT, Progress

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_MOST_NAMED = 3
_SPLIT_NAMES: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_dataset(
    source: Path,
    *,
    fewest_classes: int = 2,
    several_labels: SeveralLabels = "refused",
    rehash: bool = False,
    progress: Progress = SILENT,
) -> DataSplit:
    """The labelled images of a folder or a CSV, in a fixed order; no image is decoded.

    Files are read, to be hashed, only where several labels an image are wanted of folders: those with the same bytes
    are one image. `rehash`: also those that have not changed since an earlier command hashed them.

    Raises
    ------
    UsageError
        `source` is not there; it has several labels an image where they are refused, or one where several are wanted.
    DataError
        It holds no data set: no images, fewer classes than wanted, an empty class, classes that hardly differ, …
    """
    from edgeclf.data.table import read_table

    if source.is_dir():
        data = _folder_data(source)
    elif not os.path.lexists(source):
        raise UsageError(f"{source}: no such file or folder; name an image folder, a CSV or a split manifest")
    elif source.suffix.lower() == ".csv":
        rows = read_table(source)
        check_several_labels(rows.multi_label, several_labels, str(source))
        data = DataSplit(root=source.parent, classes=rows.classes, images=rows.images, multi_label=rows.multi_label)
    else:
        advice = "unpack it and name the folder" if source.suffix.lower() in _ARCHIVES else "give a folder or a CSV"
        raise DataError(f"{source}: neither a folder nor a CSV; {advice}")
    check_labels(data, source)
    _check_classes(data.classes, source, fewest_classes)
    if source.is_dir() and several_labels == "wanted":
        data = merge_copies(hash_images(data, progress, rehash=rehash))
        check_labels(data, source)
    return data


def parse_split(name: str) -> Split | None:
    """The split that a folder's name or a CSV's cell means: `valid` and `validation` are `val`. None: no split."""
    return _SPLIT_NAMES.get(name.lower())


def some(names: Iterable[str], separator: str = ", ") -> str:
    """The first few of many names, for a message of one line."""
    listed = list(names)
    rest = len(listed) - _MOST_NAMED
    return separator.join(listed[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _folder_data(source: Path) -> DataSplit:
    images, passed_over = _read_folder(source)
    classes = tuple(sorted(set(all_labels(images))))
    return DataSplit(root=source, classes=classes, images=tuple(images), passed_over=passed_over)


def _read_folder(source: Path) -> tuple[list[LabelledImage], int]:
    """The images of an image folder, and how many other files lie in it."""
    folders, loose, others = _list_folder(source)
    if not folders:
        found = f"{len(loose)} images lie directly in it" if loose else "no images in it"
        raise DataError(f"{source}: {found}; give each class a folder of its own: {source.name}/CLASS/IMAGE")
    splits = {folder: parse_split(folder.name) for folder in folders}
    if any(split and _holds_classes(folder) for folder, split in splits.items()):
        return _read_split_folders(source, splits, others + len(loose))
    images, passed_over = _read_classes(source, folders, None)
    return images, passed_over + others + len(loose)


def _holds_classes(folder: Path) -> bool:
    """True for a split's folder; one of a class that is called "train" has its images inside."""
    return bool(_list_folder(folder)[0])


def _read_split_folders(source: Path, splits: dict[Path, Split | None], others: int) -> tuple[list[LabelledImage], int]:
    if strangers := [folder.name for folder, split in splits.items() if split is None]:
        known = ", ".join(folder.name for folder, split in splits.items() if split)
        raise DataError(
            f"{source}: {some(map(repr, strangers))} beside the split folders {known}; "
            "keep either classes or splits here"
        )
    images: list[LabelledImage] = []
    for folder, split in splits.items():
        classes, loose, passed_over = _list_folder(folder)
        if not classes:
            raise DataError(
                f"{folder}: {len(loose)} images without class folders; give each class one, or move it away"
            )
        read, more = _read_classes(source, classes, split)
        images += read
        others += passed_over + len(loose) + more
    return images, others


def _read_classes(root: Path, folders: Sequence[Path], split: Split | None) -> tuple[list[LabelledImage], int]:
    images: list[LabelledImage] = []
    empty, others = [], 0
    for folder in folders:
        names, passed_over = _images_under(folder, folder.relative_to(root).as_posix())
        labels = (folder.name,)  # one tuple for all of them
        images += [LabelledImage(root, name, labels, split=split) for name in names]
        others += passed_over
        if not names:
            empty.append(f"{folder} ({passed_over} other files)" if passed_over else str(folder))
    if empty:
        raise DataError(
            f"no images of {'a class' if len(empty) == 1 else 'classes'}: {some(empty)}; add some, or remove it"
        )
    return images, others


def _images_under(folder: Path, name: str) -> tuple[list[str], int]:
    """The images in the folder of this name and its folders, links included, and how many other files lie there."""
    images: list[str] = []
    others = 0
    for found, passed_over in _walk(folder, name, ()):
        images += found
        others += passed_over
    return images, others


def _walk(folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[list[str], int]]:
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise DataError(f"{folder}: a link back to a folder that it lies in, so the search would never end; remove it")
    folders, images, others = _list_folder(folder)
    yield [f"{name}/{image}" for image in images], others
    for inner in folders:
        yield from _walk(inner, f"{name}/{inner.name}", (*above, here))


def _list_folder(folder: Path) -> tuple[list[Path], list[str], int]:
    """The folders and the images' names in a folder, sorted, and how many other entries it has (hidden ones, too)."""
    folders, images, others = [], [], 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from error
    for entry in entries:
        hidden = is_passed_over(entry.name)
        if not hidden and _is_folder(entry):
            folders.append(folder / entry.name)
        elif not hidden and os.path.splitext(entry.name)[1].lower() in EXTENSIONS and not _is_special(entry):
            images.append(entry.name)
        else:
            others += 1
    return folders, images, others


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reported when the file is used
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """True for a pipe, a socket or a device, which would keep its reader waiting."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a broken link: named when it is used
        return False


def _check_classes(classes: Sequence[str], source: Path, fewest: int) -> None:
    if len(classes) < fewest:
        raise DataError(f"{source}: one class only, {classes[0]!r}; a classifier needs at least two")
    alike: dict[str, str] = {}
    for name in classes:
        if not name.isprintable() and any("\udc80" <= char <= "\udcff" for char in name):
            raise DataError(f"{source}: the class name {name!r} is not UTF-8; rename it")
        other = alike.setdefault(_folded(name), name)
        if other != name:
            raise DataError(
                f"{source}: the classes {other!a} and {name!a} differ only by case, spaces or Unicode form; "
                "make them one, or rename one"
            )


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
