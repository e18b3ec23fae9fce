"""Evaluation where an image may have several labels: (N, labels) logits and targets -> mAP, F1, calibration, intervals.

Figures at thresholds (precision, recall, F1, exact match, Hamming loss) count a label as predicted where its
probability is at its threshold or above; the others need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.auc import auc_per_class
from edgeclf_runtime.metrics.average_precision import average_precisions, weighted_mean_average_precision
from edgeclf_runtime.metrics.intervals import Interval, Resampling, mean_of, number_groups
from edgeclf_runtime.metrics.main_figure import MainFigure
from edgeclf_runtime.metrics.metrics import BINS, to_scores

THRESHOLD = 0.5  # of a label for which none was chosen
_COSTLIEST_INTERVAL = 2e9  # draws x images x labels; beyond that the bootstrap of the mAP takes minutes


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """One label, each figure 0..1; None where there is nothing to divide by.

    `support` counts the images that have it, `predicted` those it was predicted for at its `threshold`. `auc` is the
    area under its ROC curve, `ece` the gap between its probability and how often it is there, over 15 equal bins.
    """

    label: str
    support: int
    predicted: int
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    auc: float | None
    ece: float


@dataclass(frozen=True, slots=True)
class MultiLabelEvaluation:
    """What predictions of several labels are worth. Shares are 0..1; None: no label has an image.

    Attributes
    ----------
    without_label
        Images that have no label.
    mean_average_precision
        mAP: the mean of the labels' average precisions, over the labels that images have; so are the macro figures.
    macro_f1, micro_f1
        The mean of the labels' F1, and the F1 of all decisions together.
    exact_match
        The share of images whose predicted labels are all right, and all there.
    hamming_loss
        The share of wrong decisions, image by image and label by label.
    macro_ece
        The mean of the labels' calibration errors.
    groups
        How many groups the intervals were drawn over; None: images are independent.
    """

    images: int
    classes: tuple[str, ...]
    without_label: int
    mean_average_precision: float | None
    mean_average_precision_interval: Interval | None
    macro_f1: float | None
    macro_f1_interval: Interval | None
    micro_f1: float
    micro_f1_interval: Interval | None
    micro_precision: float | None
    micro_recall: float | None
    exact_match: float
    exact_match_interval: Interval | None
    hamming_loss: float
    hamming_loss_interval: Interval | None
    macro_auc: float | None
    macro_ece: float
    per_label: tuple[LabelFigures, ...]
    groups: int | None

    @property
    def per_class(self) -> tuple[LabelFigures, ...]:
        """`per_label`, by the name that it has where images have one label each."""
        return self.per_label

    @property
    def worst_first(self) -> tuple[LabelFigures, ...]:
        """The labels of the lowest average precision first; those that no image has last."""
        shares = (2.0 if each.average_precision is None else each.average_precision for each in self.per_label)
        return tuple(each for _, each in sorted(zip(shares, self.per_label, strict=True), key=lambda pair: pair[0]))

    @property
    def main_figure(self) -> MainFigure:
        """Its mAP."""
        return MainFigure("mAP", self.mean_average_precision, self.mean_average_precision_interval)


def evaluate_labels(
    logits: NDArray[np.floating],
    targets: NDArray[np.generic],
    classes: Sequence[str],
    *,
    thresholds: Sequence[float] | None = None,
    temperature: float = 1.0,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> MultiLabelEvaluation:
    """The figures for logits (N, labels) and targets (N, labels) of 0 and 1.

    `thresholds`: of each label's probability; None: 0.5 for all.

    Raises DataError where there is no image, or a logit is not finite.
    """
    right = targets.astype(np.bool_)
    if not len(right):
        raise DataError("no images to evaluate")
    found = to_scores(logits, "sigmoid", temperature)
    if found.shape != right.shape or found.shape[1] != len(classes):
        raise ValueError(f"wanted scores {right.shape} for {len(classes)} labels, found {found.shape}")
    if bad := int((~np.isfinite(found)).any(axis=1).sum()):
        raise DataError(f"NaN or infinite outputs for {bad} of {len(right)} images; run `edgeclf verify`")
    least = np.full(len(classes), THRESHOLD) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    predicted = found >= least
    resampling = Resampling(len(right), number_groups(groups), seed=seed)
    per_label = _figures(found, right, predicted, least, classes)
    exact, wrong = (predicted == right).all(axis=1), (predicted != right).mean(axis=1)
    cheap = resampling.resamples * found.size <= _COSTLIEST_INTERVAL
    hits, positives, given = int((predicted & right).sum()), int(right.sum()), int(predicted.sum())
    mean_ap = _mean([each.average_precision for each in per_label])
    macro_f1, micro_f1 = _mean([each.f1 for each in per_label if each.support]), _f1(hits, positives, given)
    return MultiLabelEvaluation(
        images=len(right),
        classes=tuple(classes),
        without_label=int((~right.any(axis=1)).sum()),
        mean_average_precision=mean_ap,
        mean_average_precision_interval=resampling.interval_around(
            mean_ap, lambda weights: weighted_mean_average_precision(weights, found, right)
        )
        if cheap
        else None,
        macro_f1=macro_f1,
        macro_f1_interval=resampling.interval_around(
            macro_f1, lambda weights: weighted_macro_f1(weights, right, predicted)
        ),
        micro_f1=micro_f1,
        micro_f1_interval=resampling.interval_around(
            micro_f1, lambda weights: _weighted_micro_f1(weights, right, predicted)
        ),
        micro_precision=hits / given if given else None,
        micro_recall=hits / positives if positives else None,
        exact_match=float(exact.mean()),
        exact_match_interval=resampling.interval(mean_of(exact)),
        hamming_loss=float(wrong.mean()),
        hamming_loss_interval=resampling.interval(mean_of(wrong)),
        macro_auc=_mean([each.auc for each in per_label]),
        macro_ece=float(np.mean([each.ece for each in per_label])),
        per_label=per_label,
        groups=None if resampling.groups is None else resampling.units,
    )


def macro_f1(right: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Mean F1 of the labels that images have; 0 where there are none."""
    return float(weighted_macro_f1(np.ones((1, len(right))), right, predicted)[0])


def weighted_macro_f1(
    weights: NDArray[np.float64], right: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) mean F1 of the labels that images with weight have."""
    hits, sizes, there = weights @ (right & predicted), weights @ (right * 1.0 + predicted), weights @ right > 0
    values = np.divide(2 * hits, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return np.asarray((values * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def label_calibration_error(probabilities: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean gap between a label's probability (N,) and how often it is there, over 15 equal bins of 0..1."""
    gaps = np.bincount(_bins(probabilities), probabilities - right, BINS)
    return float(np.abs(gaps).sum() / len(right))


def weighted_macro_calibration_error(
    weights: NDArray[np.float64], probabilities: NDArray[np.float64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) mean over the labels of `label_calibration_error`; (N, labels) probabilities."""
    total, rows = np.zeros(len(weights)), np.arange(len(right))
    for number in range(right.shape[1]):
        gaps = np.zeros((len(right), BINS))
        gaps[rows, _bins(probabilities[:, number])] = probabilities[:, number] - right[:, number]
        total += np.abs(weights @ gaps).sum(axis=1)
    return np.asarray(total / (right.shape[1] * weights.sum(axis=1)))


def _bins(probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.asarray(np.clip(np.ceil(probabilities * BINS).astype(np.intp) - 1, 0, BINS - 1))


def _weighted_micro_f1(
    weights: NDArray[np.float64], right: NDArray[np.bool_], predicted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    hits = weights @ (right & predicted).sum(axis=1)
    sizes = weights @ (right.sum(axis=1) + predicted.sum(axis=1))
    return np.asarray(np.divide(2 * hits, sizes, out=np.zeros_like(hits, dtype=np.float64), where=sizes > 0))


def _figures(
    found: NDArray[np.float64],
    right: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    classes: Sequence[str],
) -> tuple[LabelFigures, ...]:
    precisions, areas = average_precisions(found, right), auc_per_class(found, right)
    figures = []
    for number, label in enumerate(classes):
        support, given = int(right[:, number].sum()), int(predicted[:, number].sum())
        hits = int((right[:, number] & predicted[:, number]).sum())
        figures.append(
            LabelFigures(
                label=label,
                support=support,
                predicted=given,
                threshold=float(thresholds[number]),
                precision=hits / given if given else None,
                recall=hits / support if support else None,
                f1=_f1(hits, support, given) if support else None,
                average_precision=precisions[number],
                auc=areas[number],
                ece=label_calibration_error(found[:, number], right[:, number]),
            )
        )
    return tuple(figures)


def _f1(hits: int, positives: int, given: int) -> float:
    return 2 * hits / (positives + given) if positives + given else 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
