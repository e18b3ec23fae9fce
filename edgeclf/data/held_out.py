"""Labelled images to evaluate on: a folder without splits is taken whole, unless a model was trained on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeclf.data.samples import Dataset, Split
from edgeclf.data.sources import read_dataset, some
from edgeclf.data.split import FRACTIONS, SplitManifest, hash_samples, load_manifest, manifest_of, split_dataset
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labelled images, and where their splits come from.

    Attributes
    ----------
    origin
        "whole": there were none, so every image is a test image. "given": folders, a CSV's column or a manifest.
        "own": the split that the model was trained with. "drawn": there were none, and one was drawn by chance.
    """

    data: SplitManifest
    origin: Origin


def open_held_out(
    source: Path,
    seed: int = 0,
    *,
    whole: bool = True,
    trained_on: Collection[str] = (),
    known: Mapping[str, Split] | None = None,
    labels: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> HeldOut:
    """The images of a folder, a CSV or a split manifest to evaluate on; nothing has to be there to train on.

    Parameters
    ----------
    whole
        Whether a source without splits is taken whole; else a split of it is drawn, as training would.
    trained_on
        Digests of the split manifests that models were trained on.
    known
        SHA-256 of the images that a run knows, and their splits in it: a source of nothing else has those.
    labels
        The model's classes, where the images may lack some of them; None: they are those that have images.

    Raises
    ------
    DataError
        As `read_dataset`; a class that is none of `labels`; too few images for a split that shall be drawn.
    GateError
        The source has one group in several splits.
    """
    if source.suffix.lower() == ".json":
        manifest = load_manifest(source)
        manifest = replace(manifest, classes=_allowed(manifest.classes, labels, source))
        return HeldOut(manifest, "own" if manifest.digest in trained_on else "given")
    dataset = read_dataset(source, fewest_classes=2 if labels is None else 1)
    dataset = replace(dataset, classes=_allowed(dataset.classes, labels, source))
    hashes = hash_samples(dataset.samples, progress)
    has_splits = any(sample.split for sample in dataset.samples)
    if known and not has_splits and all(sha256 in known for sha256 in hashes):
        samples = [replace(one, split=known[sha256]) for one, sha256 in zip(dataset.samples, hashes, strict=True)]
        return HeldOut(manifest_of(dataset, samples, hashes, seed), "own")
    if not has_splits and not whole:
        split = split_dataset(dataset, seed=seed, hashes=hashes)
        return HeldOut(split, "own" if split.digest in trained_on else "drawn")
    trained = _as_trained(dataset, hashes, seed)
    if trained is not None and trained.digest in trained_on:
        return HeldOut(trained, "own")
    if has_splits:
        return HeldOut(trained or manifest_of(dataset, dataset.samples, hashes, seed), "given")
    samples = [replace(sample, split="test") for sample in dataset.samples]
    return HeldOut(manifest_of(dataset, samples, hashes, seed), "whole")


def _as_trained(dataset: Dataset, hashes: Sequence[str], seed: int) -> SplitManifest | None:
    """The split that a training on this source has; None where none can train on it, such as of test images alone."""
    try:
        return split_dataset(dataset, FRACTIONS, seed, hashes=hashes)
    except DataError:
        return None


def _allowed(found: tuple[str, ...], labels: Sequence[str] | None, source: Path) -> tuple[str, ...]:
    """The classes of the manifest. Raises DataError, showing the difference, where one is none of `labels`."""
    if labels is None:
        return found
    if strangers := [repr(name) for name in found if name not in set(labels)]:
        raise DataError(
            f"{source}: {len(strangers)} of its {len(found)} classes are none of the model's {len(labels)}: "
            f"{some(strangers)} (the model has {some(map(repr, labels))}); rename or remove these folders"
        )
    return tuple(labels)
