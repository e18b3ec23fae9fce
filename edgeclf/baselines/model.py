"""What a baseline computes: HOG of its images, and support vector machines on it, of one label an image or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.baselines.kernel_svm import fit_svm
from edgeclf.baselines.label_svm import fit_label_svms, with_probabilities
from edgeclf.data.sources import some
from edgeclf.evaluation.label_thresholds import BEST_F1, fit_label_thresholds
from edgeclf_runtime.backends.hog import FEATURES, grey_levels, hog
from edgeclf_runtime.backends.svm import LabelSvm, Svm
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, all_labels, class_numbers, label_targets
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import predict_images, strictly
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.progress import Progress

ADVICE = "`edgeclf data check` finds all such images"


@dataclass(frozen=True, slots=True)
class Model:
    """What the bundle computes, (N, 1764) HOG -> (N, classes) as scikit-learn has it, and its decisions."""

    svm: Svm | LabelSvm
    outputs: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    thresholds: Thresholds = Thresholds()


def one_label(features: NDArray[np.float32], labels: NDArray[np.intp]) -> Model:
    """A classifier of classes, by (N, 1764) features and (N,) class numbers of training images."""
    fitted = fit_svm(features, labels)
    return Model(fitted.svm, fitted.margins)


def several_labels(data: DataSplit, features: NDArray[np.float32], pixels: Pixels, progress: Progress) -> Model:
    """One classifier a label; validation images, if there are any, make its probability and choose its threshold."""
    fitted = fit_label_svms(features, label_targets(data.of("train"), data.classes))
    images = data.of("val")
    if not images:
        return Model(fitted.svm, fitted.logits, Thresholds(per_class=(THRESHOLD,) * len(data.classes)))
    seen, targets = read_features(images, pixels, progress), label_targets(images, data.classes)
    fitted = with_probabilities(fitted, seen, targets)
    found = to_scores(fitted.logits(seen), "sigmoid")
    chosen = fit_label_thresholds(found, targets, data.classes, BEST_F1)
    for caution in chosen.cautions:
        progress.warn(caution)
    return Model(fitted.svm, fitted.logits, Thresholds(per_class=chosen.values))


def training_labels(data: DataSplit, images: Sequence[LabelledImage]) -> NDArray[Any]:
    """(N,) class numbers, or (N, classes) targets where images may have several labels.

    Raises DataError where no image shows one of the classes.
    """
    there = set(all_labels(images))
    if missing := [repr(label) for label in data.classes if label not in there]:
        raise DataError(f"{data.root}: no training image of {some(missing)}; add some, or remove the class")
    return (label_targets if data.multi_label else class_numbers)(images, data.classes)


def read_features(images: Sequence[LabelledImage], pixels: Pixels, progress: Progress) -> NDArray[np.float32]:
    """(N, 1764) HOG of the images. Raises DataError at the first that can't be read."""
    rows = predict_images(images, lambda image: image.load(pixels), lambda batch: hog(grey_levels(np.stack(batch))))
    features = np.empty((len(images), FEATURES), dtype=np.float32)
    for number, (_, row) in enumerate(progress.track(strictly(rows, ADVICE), len(images), "HOG")):
        features[number] = row
    return features
