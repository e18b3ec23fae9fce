"""The split manifest: which image trains, validates and tests, with a hash of each; made before any is decoded."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeclf.data.assign import allot, join_clusters
from edgeclf.data.balance import count_labels
from edgeclf.data.samples import SPLITS, Dataset, Sample, Split
from edgeclf.data.sources import read_dataset, some
from edgeclf.data.threads import in_threads
from edgeclf.wording import count
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.progress import SILENT, Progress

SCHEMA = 1
FRACTIONS = (0.7, 0.15, 0.15)
Fractions = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a split. `path` is relative to the manifest's root, with forward slashes; `sha256` of the file."""

    path: str
    label: str
    split: Split
    sha256: str
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitManifest:
    """Every image with its split. In memory `root` is absolute; in a file that lies above it, relative."""

    schema: int = SCHEMA
    root: str
    classes: tuple[str, ...]
    seed: int
    fractions: Fractions
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        known = set(self.classes)
        if len(known) < 2 or len(known) != len(self.classes):
            raise ValueError(f"wanted two classes or more, each once, found {len(self.classes)}")
        for item in self.items:
            _check_path(item.path)
            if item.label not in known:
                raise ValueError(f"the class {item.label!r} of {item.path!r} is none of its classes")
        if len({item.path for item in self.items}) != len(self.items):
            raise ValueError("an image is listed twice")

    @property
    def digest(self) -> str:
        """SHA-256 of the items: paths, labels, splits, hashes, groups. The root and the order don't matter."""
        canonical = json.dumps(to_json(sorted(self.items, key=lambda item: item.path)))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def of(self, split: Split) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.split == split)

    def path_of(self, item: Item) -> Path:
        return Path(self.root, item.path)


def open_data(
    source: Path, seed: int = 0, fractions: Fractions = FRACTIONS, *, progress: Progress = SILENT
) -> SplitManifest:
    """The manifest in a .json file as it is; else the folder or CSV `source`, split here and now."""
    if source.suffix.lower() == ".json":
        return load_manifest(source)
    return split_dataset(read_dataset(source), fractions, seed, progress=progress)


def read_source(source: Path) -> Dataset:
    """The samples of a folder, a CSV or a split manifest, for those who look at data without splitting them."""
    if source.suffix.lower() != ".json":
        return read_dataset(source)
    return dataset_of(load_manifest(source))


def dataset_of(manifest: SplitManifest) -> Dataset:
    """The samples of a manifest."""
    samples = tuple(Sample(manifest.path_of(item), item.label, item.split, item.group) for item in manifest.items)
    return Dataset(Path(manifest.root), samples, manifest.classes, 0)


def training_dataset(manifest: SplitManifest) -> Dataset:
    """The training images alone, for statistics that must not see the others."""
    return dataset_of(replace(manifest, items=manifest.of("train")))


def copies_across_splits(manifest: SplitManifest) -> int:
    """How many images have the bytes of an image in another split."""
    splits: dict[str, set[str]] = {}
    for item in manifest.items:
        splits.setdefault(item.sha256, set()).add(item.split)
    return sum(len(splits[item.sha256]) > 1 for item in manifest.items)


def split_dataset(
    dataset: Dataset,
    fractions: Fractions = FRACTIONS,
    seed: int = 0,
    *,
    group_of: Callable[[str], str | None] | None = None,
    hashes: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> SplitManifest:
    """Parts a data set into train, val and test, class by class; the same data and seed give the same split anywhere.

    Images of one group stay together, and so do files with the same bytes. Splits that the source has are kept; where
    it has no val, val comes out of train.

    Parameters
    ----------
    fractions
        Shares of train, val and test; of those two that are parted where a source has the third.
    group_of
        The group of a relative path, where the source itself gives no groups.
    hashes
        What `hash_samples` gave, where that was called before.

    Raises
    ------
    DataError
        A class is too small for the splits, val or test has a class that train lacks, a file can't be read.
    GateError
        The source itself has one group in several splits.
    """
    _check_fractions(fractions)
    samples = _grouped(dataset, group_of)
    hashes = hash_samples(samples, progress) if hashes is None else hashes
    if any(sample.split for sample in samples):
        samples = _complete(dataset, samples, hashes, fractions, seed)
    else:
        samples = _allotted(dataset, samples, hashes, fractions, seed)
    if faults := split_faults(samples):
        raise DataError(f"{dataset.root}: {faults[0]}")
    return manifest_of(dataset, samples, hashes, seed, fractions)


def hash_samples(samples: Sequence[Sample], progress: Progress = SILENT) -> tuple[str, ...]:
    """SHA-256 of each file. Raises DataError for one that can't be read."""
    return tuple(progress.track(in_threads(_hash, [sample.path for sample in samples]), len(samples), "hash"))


def manifest_of(
    dataset: Dataset, samples: Sequence[Sample], hashes: Sequence[str], seed: int, fractions: Fractions = FRACTIONS
) -> SplitManifest:
    """The manifest of samples that have their splits."""
    items = tuple(
        Item(dataset.relative(sample), sample.label, sample.split or "train", sha256, sample.group)
        for sample, sha256 in zip(samples, hashes, strict=True)
    )
    root = str(dataset.root.resolve())
    return SplitManifest(root=root, classes=dataset.classes, seed=seed, fractions=fractions, items=items)


def split_faults(samples: Sequence[Sample]) -> tuple[str, ...]:
    """What makes splits useless: nothing to train on, or classes in val or test that train lacks."""
    trained = {sample.label for sample in samples if sample.split == "train"}
    if not trained:
        return ("no training images: only " + " and ".join(sorted({sample.split or "none" for sample in samples})),)
    faults = []
    for split in SPLITS[1:]:
        if unknown := sorted({sample.label for sample in samples if sample.split == split} - trained):
            faults.append(f"{split} has classes that train lacks: {some(map(repr, unknown))}")
    return tuple(faults)


def leaking_groups(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Groups that lie in more than one split."""
    splits: dict[str, set[str | None]] = {}
    for sample in samples:
        if sample.group is not None and sample.split is not None:
            splits.setdefault(sample.group, set()).add(sample.split)
    return tuple(group for group, found in splits.items() if len(found) > 1)


def save_manifest(manifest: SplitManifest, path: Path, force: bool = False) -> None:
    """Writes the manifest in one step. Images that lie beside or below it are noted as such: both can move together."""
    root, folder = Path(manifest.root).resolve(), path.parent.resolve()
    noted = root.relative_to(folder) if root.is_relative_to(folder) else root
    content = json.dumps(to_json(replace(manifest, root=noted.as_posix())), indent=1) + "\n"
    with writing(path, force=force) as draft:
        draft.write_bytes(content.encode())


def load_manifest(path: Path, root: Path | None = None) -> SplitManifest:
    """The manifest in a file. `root`: the folder of the images where it is no longer the one that is noted there.

    Raises UsageError where the file is missing, DataError for a damaged or newer one and for images that moved.
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"{path}: no such split manifest; `edgeclf data split` makes one") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); make the split again") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int or "items" not in content:
        raise DataError(f"{path}: no split manifest; `edgeclf data split SOURCE -o {path.name}` makes one")
    if content["schema"] != SCHEMA:
        advice = "update edgeclf" if content["schema"] > SCHEMA else "make the split again"
        raise DataError(f"{path}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; {advice}")
    manifest = from_json(SplitManifest, content, str(path))
    place = (path.parent.resolve() / manifest.root if root is None else root).resolve()
    if not place.is_dir():
        raise DataError(f"{path}: its images lay in {place}, and that is no folder now; move them back, or split anew")
    return replace(manifest, root=str(place))


def verify_item(manifest: SplitManifest, item: Item) -> bytes:
    """The bytes of an image, once their hash is known to be the manifest's. Raises DataError."""
    path = manifest.path_of(item)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; it was there when the split was made") from error
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise DataError(f"{path}: changed since the split was made; split anew, or bring the old file back")
    return data


def _check_path(path: str) -> None:
    parts = path.split("/")
    if os.path.isabs(path) or os.pardir in parts or "" in parts or "\0" in path:
        raise ValueError(f"the path {path!r} does not stay under the root")


def _check_fractions(fractions: Fractions) -> None:
    if not all(0 <= share <= 1 for share in fractions) or abs(sum(fractions) - 1) > 1e-6 or not fractions[0]:
        raise UsageError(f"fractions of train, val and test must sum to 1, train above 0; found {fractions}")


def _grouped(dataset: Dataset, group_of: Callable[[str], str | None] | None) -> tuple[Sample, ...]:
    if group_of is None:
        return dataset.samples
    grouped = tuple(replace(sample, group=group_of(dataset.relative(sample))) for sample in dataset.samples)
    if not any(sample.group for sample in grouped):
        raise UsageError(f"--group-by finds no group in any path, such as {dataset.relative(grouped[0])!r}")
    return grouped


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def _complete(
    dataset: Dataset, samples: tuple[Sample, ...], hashes: Sequence[str], fractions: Fractions, seed: int
) -> tuple[Sample, ...]:
    """The splits of the source, with val taken from train where there is none."""
    if groups := leaking_groups(samples):
        raise GateError(f"{dataset.root}: groups in more than one split: {some(map(repr, groups))}")
    if any(sample.split == "val" for sample in samples) or not fractions[1] or split_faults(samples):
        return samples
    share = fractions[1] / (fractions[0] + fractions[1])
    chosen = [i for i, sample in enumerate(samples) if sample.split == "train"]
    parted = _allotted(
        dataset, tuple(samples[i] for i in chosen), [hashes[i] for i in chosen], (1 - share, share, 0.0), seed
    )
    completed = list(samples)
    for i, sample in zip(chosen, parted, strict=True):
        completed[i] = sample
    return tuple(completed)


def _allotted(
    dataset: Dataset, samples: tuple[Sample, ...], hashes: Sequence[str], fractions: Fractions, seed: int
) -> tuple[Sample, ...]:
    clusters = join_clusters([(sha, sample.group) for sample, sha in zip(samples, hashes, strict=True)])
    labels, paths = [sample.label for sample in samples], [dataset.relative(sample) for sample in samples]
    grouped = any(sample.group is not None for sample in samples)
    _check_counts(dataset, labels if grouped else [labels[cluster[0]] for cluster in clusters], fractions)
    splits = allot(clusters, labels, paths, fractions, seed, grouped=grouped)
    return tuple(replace(sample, split=split) for sample, split in zip(samples, splits, strict=True))


def _check_counts(dataset: Dataset, labels: Sequence[str], fractions: Fractions) -> None:
    wanted = sum(share > 0 for share in fractions)
    for label, found in count_labels(labels, dataset.classes).items():
        if found < wanted:
            raise DataError(
                f"{dataset.root}: class {label!r} has {count(found, 'different image')}, too few for one in each of "
                f"{wanted} splits; add images, or leave the class out"
            )
