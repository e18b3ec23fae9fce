"""Features of a bundle: its second output, the class means of the training images, and thresholds of both rules."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.graph.onnx_graph import FEATURES_NAME
from edgeclf_export.targets.target import Target
from edgeclf_runtime.bundle.feature_info import CLASS_MEANS, REFERENCE_FEATURES, FeatureInfo
from edgeclf_runtime.bundle.features import IndexedImage, write_index
from edgeclf_runtime.bundle.manifest import Manifest, TensorSpec, Thresholds
from edgeclf_runtime.deploy.golden_features import run_with_features
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage, all_labels, label_targets
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import prepare_images, strictly
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.similarity import ClassMeans, class_means, fit_both_thresholds
from edgeclf_runtime.session import Session

_MOST_A_CLASS = 200  # a mean of more moves by little: its error is a fourteenth of the spread
_BATCH = 32


@dataclass(frozen=True)
class FeatureData:
    """What features are made and proven of.

    Attributes
    ----------
    reference
        (N, width) features that the reference gives for the proof images.
    training
        The training images that class means are taken of.
    nearest_images
        How many of them the bundle keeps for `predict --nearest`; 0: none.
    """

    reference: NDArray[np.float32]
    training: tuple[LabelledImage, ...]
    pixels: Pixels
    nearest_images: int

    def batches(self) -> Iterator[NDArray[np.uint8]]:
        """The training images in order, (N, H, W, 3). Raises DataError for one that can't be read."""
        loaded = strictly(prepare_images(self.training, lambda image: image.load(self.pixels)))
        pixels = (each for _, each in loaded)
        while batch := list(islice(pixels, _BATCH)):
            yield np.stack(batch)


def feature_data(exportable: Exportable, pixels: NDArray[np.uint8], nearest_images: int) -> FeatureData:
    """For a run. Raises UsageError for a source without labelled training images, or without a linear head."""
    if exportable.run_features is None or exportable.data is None:
        raise UsageError(
            f"--features: {exportable.backbone} brings no labelled training images to take class means of; export the "
            "run that it was trained in"
        )
    shown = set(all_labels(exportable.data.split.of("train")))
    if lacking := [label for label in exportable.labels if label not in shown]:
        raise DataError(f"--features: no training image shows {lacking[0]!r}, so it has no class mean; leave it out")
    training = _spread_over_classes(exportable.data.split.of("train"), exportable.labels, nearest_images)
    return FeatureData(exportable.run_features(pixels), training, exportable.pixels, nearest_images)


def with_features_output(
    draft: Path, manifest: Manifest, target: Target, data: FeatureData, golden: Sequence[int]
) -> Manifest:
    """Gives the model in `draft` its second output; the manifest then states it, and what proves it."""
    width = data.reference.shape[1]
    if target.add_features is None:  # refused before anything was made
        raise ValueError(f"{target.name} has no features")
    target.add_features(draft, width)
    np.save(draft / REFERENCE_FEATURES, data.reference[list(golden)].astype(np.float32), allow_pickle=False)
    batch = manifest.outputs[0].shape[0]
    spec = TensorSpec(FEATURES_NAME, "float32", "NC", (batch, width))
    info = FeatureInfo(images=len(data.training), images_sha256=_digest(data.training))
    return replace(manifest, outputs=(*manifest.outputs, spec), features=info)


def write_class_means(draft: Path, manifest: Manifest, data: FeatureData, session: Session) -> Manifest:
    """Runs the training images through the finished model, and keeps what they teach below `draft`."""
    info = manifest.features
    if info is None:
        raise ValueError("the manifest states no features")
    parts = [run_with_features(session, manifest, batch)[1] for batch in data.batches()]
    features, targets = np.concatenate(parts), label_targets(data.training, manifest.labels)
    (draft / CLASS_MEANS).parent.mkdir(exist_ok=True)
    np.save(draft / CLASS_MEANS, class_means(features, targets), allow_pickle=False)
    if data.nearest_images:
        kept = _evenly(len(features), data.nearest_images)
        images = tuple(IndexedImage(data.training[i].name, "|".join(data.training[i].labels or ())) for i in kept)
        index, names = write_index(draft, features[kept], images)
        info = replace(info, index=index, index_names=names)
    return replace(manifest, features=info)


def thresholds_of_both(
    manifest: Manifest, means: ClassMeans, logits: NDArray[np.float32], features: NDArray[np.float32]
) -> Thresholds:
    """The manifest's thresholds, with those of energy and features chosen together where the energy has one.

    `logits` and `features` are of validation images, by the finished model itself: of INT8 as of the others.
    """
    energy = manifest.thresholds.energy
    if energy is None:
        return manifest.thresholds
    both = fit_both_thresholds(energies_of(logits, manifest.scores), means.similarities(features), energy.false_alarms)
    return replace(manifest.thresholds, energy=both[0], features=both[1])


def _spread_over_classes(
    images: Sequence[LabelledImage], labels: Sequence[str], nearest_images: int
) -> tuple[LabelledImage, ...]:
    """At most 200 of each class, or as many as the index needs, evenly spread and in the images' order.

    Where an image may have several labels, those without any are a class, too: the nearest image may show none.
    """
    most = max(_MOST_A_CLASS, math.ceil(nearest_images / len(labels)))
    chosen = set[int]()
    for label in (*labels, None):
        own = [place for place, image in enumerate(images) if label in (image.labels or (None,))]
        chosen.update(own[i] for i in _evenly(len(own), most))
    return tuple(images[place] for place in sorted(chosen))


def _evenly(total: int, most: int) -> list[int]:
    count = min(most, total)
    return [i * total // count for i in range(count)]


def _digest(images: Sequence[LabelledImage]) -> str:
    return hashlib.sha256("".join(image.sha256 or "" for image in images).encode()).hexdigest()
