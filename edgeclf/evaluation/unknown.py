"""How well a classifier tells images of none of its classes from those of its classes: by energy, and by features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.evaluation.evaluation_report import Subject, UnknownEvaluation
from edgeclf.evaluation.inference import Predictions
from edgeclf.wording import count
from edgeclf_benchmarks.measuring.thresholds import passes
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.labelled import LabelledImage, hash_image
from edgeclf_runtime.metrics.auc import weighted_macro_auc
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.intervals import Interval, Resampling, number_groups, wilson
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.progress import Progress


def read_unknown(folder: Path, progress: Progress) -> tuple[LabelledImage, ...]:
    """The images under a folder, hashed. Raises DataError where there is none."""
    files = find_images(folder)[0]
    if not files:
        raise DataError(f"no images found in {folder}")
    found = progress.track(files, len(files), "hash")
    return tuple(LabelledImage(folder, file.relative_to(folder).as_posix(), None, hash_image(file)) for file in found)


def check_unknown(unknown: Sequence[LabelledImage], known: Sequence[LabelledImage], scores: str) -> None:
    """Before any image is read: can images of no class be told from the known ones?

    Raises UsageError for scores without energies, DataError where an image is among the labelled ones, byte for byte.
    """
    if unknown and scores == "margin":
        raise UsageError("--unknown: its scores are margins, which have no energy; evaluate a network instead")
    labelled = {image.sha256: image for image in known}
    if twice := [image for image in unknown if image.sha256 in labelled]:
        twin = labelled[twice[0].sha256]
        raise DataError(
            f"--unknown: {count(len(twice), 'image')} of {len(unknown):,} are among the labelled images, such as "
            f"{twice[0].path}, which is {twin.name}; take them out of one of the two"
        )


def evaluate_unknown(
    unknown: Predictions,
    known: Predictions,
    subject: Subject,
    groups: Sequence[str | None],
    targets: NDArray[np.float32] | None = None,
) -> UnknownEvaluation:
    """From the logits of both; `groups` of the known images. Raises DataError where no unknown image can be read.

    `targets` (N, labels): of the known images, where one may have several labels. An unknown one is missed then where
    any label is predicted.
    """
    if not len(unknown.logits):
        raise DataError(f"--unknown: none of its images can be read, the first: {unknown.unreadable[0].error}")
    parts = (unknown.logits, known.logits)
    energies = [energies_of(each, subject.scores) for each in parts]
    scores = [to_scores(each, subject.scores, subject.temperature) for each in parts]
    of_unknown = np.arange(sum(map(len, parts))) >= len(unknown.logits)  # 0 is the class "unknown"
    every = Resampling(len(of_unknown), number_groups([*[None] * len(unknown.logits), *groups]))
    area, interval = _auroc(-np.concatenate(energies), of_unknown, every)
    by_score, _ = _auroc(-np.concatenate([each.max(axis=1) for each in scores]), of_unknown, None)
    alike = [each.similarities for each in (unknown, known)]
    by_features = interval_of_features = None
    if alike[0] is not None and alike[1] is not None:
        by_features, interval_of_features = _auroc(-np.concatenate([alike[0], alike[1]]), of_unknown, every)
    passed = [
        passes(each, subject.thresholds, energy, similar)
        for each, energy, similar in zip(scores, energies, alike, strict=True)
    ]
    if targets is not None:
        passed = [_labelled(unknown, scores[0], subject), not_unknown(known, subject)]
    missed, answered = (None if each is None else int(each.sum()) for each in passed)
    return UnknownEvaluation(
        images=len(unknown.logits),
        known_images=len(known.logits),
        auroc=area,
        auroc_interval=interval,
        auroc_of_score=by_score,
        auroc_of_features=by_features,
        auroc_of_features_interval=interval_of_features,
        missed=None if missed is None else missed / len(unknown.logits),
        missed_interval=None if missed is None else wilson(missed, len(unknown.logits)),
        false_alarms=None if answered is None else 1 - answered / len(known.logits),
        false_alarms_interval=None if answered is None else wilson(len(known.logits) - answered, len(known.logits)),
        unreadable=unknown.unreadable,
        known_without_label=0 if targets is None else int((targets.sum(axis=1) == 0).sum()),
    )


def not_unknown(predictions: Predictions, subject: Subject) -> NDArray[np.bool_] | None:
    """(N,) which images of several labels are not "unknown", labelled or not; None without a threshold for that."""
    thresholds = replace(subject.thresholds, per_class=None)
    energies = energies_of(predictions.logits, "sigmoid")
    return passes(predictions.logits.astype(np.float64), thresholds, energies, predictions.similarities)


def _labelled(predictions: Predictions, scores: NDArray[np.float64], subject: Subject) -> NDArray[np.bool_]:
    """(N,) where any label of (N, labels) scores is predicted."""
    labelled = np.asarray((scores >= np.array(subject.thresholds.per_class or THRESHOLD)).any(axis=1))
    known = not_unknown(predictions, subject)
    return labelled if known is None else labelled & known


def _auroc(
    strangeness: NDArray[np.float64], labels: NDArray[np.bool_], every: Resampling | None
) -> tuple[float, Interval | None]:
    """The area under the ROC curve of (N,) how strange each image is, `labels` 0 for unknown; with its interval."""
    found, numbers = strangeness[:, np.newaxis], labels.astype(np.intp)

    def area(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return weighted_macro_auc(weights, numbers, found)

    value = float(area(np.ones((1, len(labels))))[0])
    return value, None if every is None else every.interval_around(value, area)
