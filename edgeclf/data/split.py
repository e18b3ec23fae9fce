"""The split: which image trains, validates and tests, with a hash of each; made before any is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgeclf.data.assign import allot, deal_by_class, deal_greedily, join_clusters
from edgeclf.data.balance import count_labels
from edgeclf.data.hashed import hash_images, hash_readable
from edgeclf.data.several_labels import SeveralLabels, check_any_label
from edgeclf.data.sources import read_dataset, some
from edgeclf.data.split_file import load_split
from edgeclf.data.stratify import deal_iteratively
from edgeclf.data.usable import Unreadable, leave_out, left_out_sentence
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import FRACTIONS, DataSplit, Fractions
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, Split, all_labels
from edgeclf_runtime.progress import SILENT, Progress


def open_data(
    source: Path,
    seed: int = 0,
    fractions: Fractions = FRACTIONS,
    *,
    several_labels: SeveralLabels = "refused",
    warn: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> DataSplit:
    """The split in a .json file as it is; else the folder or CSV `source`, split here and now.

    `warn`: as `split_dataset`.
    """
    data = read_source(source, several_labels=several_labels, progress=progress)
    if source.suffix.lower() == ".json":
        return data
    return split_dataset(data, fractions, seed, warn=warn, progress=progress)


def read_source(
    source: Path, *, several_labels: SeveralLabels = "refused", rehash: bool = False, progress: Progress = SILENT
) -> DataSplit:
    """The images of a folder, a CSV or a split file, as they are, without splitting them."""
    if source.suffix.lower() == ".json":
        data = load_split(source, several_labels=several_labels)
        check_any_label(data, source)
        return data
    return read_dataset(source, several_labels=several_labels, rehash=rehash, progress=progress)


def copies_across_splits(data: DataSplit) -> int:
    """How many images have the bytes of an image in another split."""
    splits: dict[str, set[str | None]] = {}
    for image in data.images:
        splits.setdefault(image.sha256, set()).add(image.split)
    return sum(len(splits[image.sha256]) > 1 for image in data.images)


def split_dataset(
    data: DataSplit,
    fractions: Fractions = FRACTIONS,
    seed: int = 0,
    *,
    group_of: Callable[[str], str | None] | None = None,
    rehash: bool = False,
    warn: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> DataSplit:
    """Parts a data set into train, val and test, class by class; the same data and seed give the same split anywhere.

    Data with several labels an image are stratified iteratively, label by label. Images of one group stay together, and
    so do files with the same bytes. Splits that the source has are kept; where it has no val, val is taken from train.

    Parameters
    ----------
    fractions
        Shares of train, val and test; of those two that are parted where a source has the third.
    group_of
        The group of a relative path, where the source itself gives no groups.
    rehash
        Read files that have not changed since an earlier command hashed them, too.
    warn
        Gets a sentence on files that can't be read, which are left out then; None: they are an error.

    Raises
    ------
    DataError
        A class is too small for the splits, val or test has a class that train lacks, a file, or more than half
        of all, can't be read.
    GateError
        The source itself has one group in several splits.
    """
    _check_fractions(fractions)
    data = _hashed(data if group_of is None else _grouped(data, group_of), warn, progress, rehash=rehash)
    images = _complete(data, fractions, seed) if data.has_splits else _allotted(data, data.images, fractions, seed)
    if faults := split_faults(images):
        raise DataError(f"{data.root}: {faults[0]}")
    return replace(data, images=images, seed=seed, fractions=fractions)


def _hashed(data: DataSplit, warn: Callable[[str], None] | None, progress: Progress, *, rehash: bool) -> DataSplit:
    if warn is None:
        return hash_images(data, progress, rehash=rehash)
    hashed, errors = hash_readable(data, progress, rehash=rehash)
    if errors:
        unusable = [
            Unreadable(name, str(error).removeprefix(f"{data.root / name}: ")) for name, error in errors.items()
        ]
        leave_out(data, unusable)  # at most half of them
        kinds = [("split", {str(each.split) for each in data.images}, {str(each.split) for each in hashed.images})]
        kinds += [("class", set(all_labels(data.images)), set(all_labels(hashed.images)))]
        for kind, before, left in kinds:
            if emptied := sorted(before - left):
                sentence = left_out_sentence(unusable, len(data.images))
                raise DataError(f"{data.root}: {sentence}; nothing is left of the {kind} {some(map(repr, emptied))}")
        warn(f"{left_out_sentence(unusable, len(data.images))}; they are left out")
    return hashed


def split_faults(images: Sequence[LabelledImage]) -> tuple[str, ...]:
    """What makes splits useless: nothing to train on, or classes in val or test that train lacks."""
    labels = {split: set(all_labels(image for image in images if image.split == split)) for split in SPLITS}
    if all(image.split != "train" for image in images):
        return ("no training images: only " + " and ".join(sorted({image.split or "none" for image in images})),)
    faults = []
    for split in SPLITS[1:]:
        if unknown := sorted(labels[split] - labels["train"]):
            faults.append(f"{split} has classes that train lacks: {some(map(repr, unknown))}")
    return tuple(faults)


def require_images(data: DataSplit, split: Split, called: object, purpose: str) -> None:
    """Raises DataError where the split of the data that are `called` so has no images for the `purpose`."""
    if data.of(split):
        return
    name = {"train": "training", "val": "validation", "test": "test"}[split]
    others = "evaluate on validation images (--evaluate-on val), or " if split == "test" else ""
    raise DataError(
        f"{called} has no {name} images to {purpose} on; {others}make a split that has some with `edgeclf data split`"
    )


def leaking_groups(images: Sequence[LabelledImage]) -> tuple[str, ...]:
    """Groups that lie in more than one split."""
    splits: dict[str, set[str]] = {}
    for image in images:
        if image.group is not None and image.split is not None:
            splits.setdefault(image.group, set()).add(image.split)
    return tuple(group for group, found in splits.items() if len(found) > 1)


def _check_fractions(fractions: Fractions) -> None:
    if not all(0 <= share <= 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6 or not fractions[0]:
        raise UsageError(f"fractions of train, val and test must sum to 1, train above 0; found {fractions}")


def _grouped(data: DataSplit, group_of: Callable[[str], str | None]) -> DataSplit:
    grouped = tuple(replace(image, group=group_of(image.name)) for image in data.images)
    if not any(image.group for image in grouped):
        raise UsageError(f"--group-by finds no group in any path, such as {grouped[0].name!r}")
    return replace(data, images=grouped)


def _complete(data: DataSplit, fractions: Fractions, seed: int) -> tuple[LabelledImage, ...]:
    """The splits of the source, with val taken from train where there is none."""
    if groups := leaking_groups(data.images):
        raise GateError(f"{data.root}: groups in more than one split: {some(map(repr, groups))}")
    if data.of("val") or not fractions[1] or split_faults(data.images):
        return data.images
    share = fractions[1] / (fractions[0] + fractions[1])
    parted = iter(_allotted(data, data.of("train"), (1 - share, share, 0.0), seed))
    return tuple(next(parted) if image.split == "train" else image for image in data.images)


def _allotted(
    data: DataSplit, images: Sequence[LabelledImage], fractions: Fractions, seed: int
) -> tuple[LabelledImage, ...]:
    clusters = join_clusters([(image.sha256, image.group) for image in images])
    grouped = any(image.group is not None for image in images)
    _check_counts(data, images if grouped else [images[cluster[0]] for cluster in clusters], fractions)
    deal: Callable[[Sequence[list[int]]], list[int]]
    if data.multi_label:
        several = [image.labels or () for image in images]
        deal = partial(deal_iteratively, labels=several, fractions=fractions)
    else:
        labels = [image.label for image in images]
        deal = partial(deal_greedily if grouped else deal_by_class, labels=labels, fractions=fractions)
    splits = allot(clusters, [image.name for image in images], seed, deal)
    return tuple(replace(image, split=split) for image, split in zip(images, splits, strict=True))


def _check_counts(data: DataSplit, images: Iterable[LabelledImage], fractions: Fractions) -> None:
    wanted = sum(share > 0 for share in fractions)
    kind = "label" if data.multi_label else "class"
    for label, found in count_labels(all_labels(images), data.classes).items():
        if found < wanted:
            raise DataError(
                f"{data.root}: {kind} {label!r} has {count(found, 'different image')}, too few for one in each of "
                f"{wanted} splits; add images, or leave the {kind} out"
            )
