"""Labelled images to evaluate on: a folder without splits is taken whole, unless a model was trained on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeclf.data.hashed import hash_images
from edgeclf.data.several_labels import SeveralLabels
from edgeclf.data.sources import read_dataset, some
from edgeclf.data.split import split_dataset
from edgeclf.data.split_file import load_split
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, Split
from edgeclf_runtime.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labelled images, and where their splits come from.

    Attributes
    ----------
    origin
        "whole": there were none, so every image is a test image. "given": folders, a CSV's column or a manifest.
        "own": the split that the model was trained with. "drawn": there were none, and one was drawn at random.
    """

    data: DataSplit
    origin: Origin


def open_held_out(
    source: Path,
    seed: int = 0,
    *,
    whole: bool = True,
    trained_on: Collection[str] = (),
    known: Mapping[str, Split] | None = None,
    labels: Sequence[str] | None = None,
    several_labels: SeveralLabels = "refused",
    progress: Progress = SILENT,
) -> HeldOut:
    """The images of a folder, a CSV or a split manifest to evaluate on; training images are not needed.

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

    several_labels
        Whether images may have several labels, or must.

    Raises
    ------
    DataError
        As `read_dataset`; a class that is none of `labels`; too few images for a split that is to be drawn.
    GateError
        The source has one group in several splits.
    """
    if source.suffix.lower() == ".json":
        data = load_split(source, several_labels=several_labels)
        data = replace(data, classes=_allowed(data.classes, labels, source))
        return HeldOut(data, "own" if data.digest in trained_on else "given")
    data = read_dataset(
        source, fewest_classes=2 if labels is None else 1, several_labels=several_labels, progress=progress
    )
    data = hash_images(replace(data, classes=_allowed(data.classes, labels, source), seed=seed), progress)
    if known and not data.has_splits and all(image.sha256 in known for image in data.images):
        return HeldOut(_with_splits(data, lambda image: known[image.sha256]), "own")
    if not data.has_splits and not whole:
        split = split_dataset(data, seed=seed)
        return HeldOut(split, "own" if split.digest in trained_on else "drawn")
    trained = _as_trained(data, seed)
    if trained is not None and trained.digest in trained_on:
        return HeldOut(trained, "own")
    if data.has_splits:
        return HeldOut(trained or data, "given")
    return HeldOut(_with_splits(data, lambda image: "test"), "whole")


def _with_splits(data: DataSplit, split_of: Callable[[LabelledImage], Split]) -> DataSplit:
    return replace(data, images=tuple(replace(image, split=split_of(image)) for image in data.images))


def _as_trained(data: DataSplit, seed: int) -> DataSplit | None:
    """The split that a training on this source has; None where none can train on it, such as of test images alone."""
    try:
        return split_dataset(data, seed=seed)
    except DataError:
        return None


def _allowed(found: tuple[str, ...], labels: Sequence[str] | None, source: Path) -> tuple[str, ...]:
    """The classes of the manifest. Raises DataError, showing the difference, where one is none of `labels`."""
    if labels is None:
        return found
    if strangers := [repr(name) for name in found if name not in set(labels)]:
        raise DataError(
            f"{source}: {len(strangers)} of its {len(found)} classes are not among the model's {len(labels)}: "
            f"{some(strangers)} (the model has {some(map(repr, labels))}); rename or remove these folders"
        )
    return tuple(labels)
