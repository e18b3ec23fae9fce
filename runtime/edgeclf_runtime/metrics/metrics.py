"""Evaluation: (N, classes) logits and the right classes -> accuracy, F1, AUC, calibration, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.auc import auc_per_class, weighted_macro_auc
from edgeclf_runtime.metrics.intervals import Interval, Resampling, accuracy_interval, number_groups
from edgeclf_runtime.metrics.logits import log_softmax
from edgeclf_runtime.metrics.main_figure import MainFigure

Scores = Literal["softmax", "sigmoid", "margin"]
BINS = 15
_COSTLIEST_AUC_INTERVAL = 2e9  # draws x images x classes; beyond that the bootstrap takes minutes


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class against the rest, each figure 0..1; None where there is nothing to divide by.

    `support` counts its images, `answered` how often it was predicted.
    """

    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose top probability lies in (low, high]: their mean probability, and the share that was right."""

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a classifier's predictions for `images` images are worth. Shares are 0..1; None: not applicable.

    Attributes
    ----------
    top3, top5
        None with 3 (5) classes or fewer; top3 also in reports of before it was counted.
    macro_f1
        Mean over the classes that have images.
    macro_auc
        Mean area under the one-vs-rest ROC curves; None where a class has no image.
    ece, nll
        Expected calibration error (15 equal bins of the top probability; Guo et al., ICML 2017) and mean negative
        log-likelihood of the right class in nats; None for margins, which are no probabilities.
    confusion
        Row: the right class, column: the predicted one.
    ece_untempered, nll_untempered
        The same at a temperature of 1; None: it is 1, or this is a report of an earlier version.
    groups
        How many groups the intervals were drawn over; None: images are independent.
    """

    images: int
    classes: tuple[str, ...]
    scores: Scores
    top1: float
    top1_interval: Interval | None
    top5: float | None
    macro_f1: float
    macro_f1_interval: Interval | None
    macro_auc: float | None
    macro_auc_interval: Interval | None
    ece: float | None
    nll: float | None
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]
    groups: int | None
    top3: float | None = None
    ece_untempered: float | None = None
    nll_untempered: float | None = None

    @property
    def main_figure(self) -> MainFigure:
        """Its top-1 accuracy."""
        return MainFigure("top-1", self.top1, self.top1_interval)


def evaluate(
    logits: NDArray[np.float32],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    *,
    scores: Scores = "softmax",
    temperature: float = 1.0,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
    auc_interval: bool = True,
) -> Evaluation:
    """The figures for logits (N, C) and right classes (N,), numbers into `classes`.

    Without `auc_interval` the costliest of the intervals is left out.

    Raises DataError where there is no image, or a logit is not finite.
    """
    found = to_scores(logits, scores, temperature)
    labels = _check(found, labels, classes)
    predicted = found.argmax(axis=1)
    resampling = Resampling(len(labels), number_groups(groups), seed=seed)
    confusion = confusion_matrix(labels, predicted, len(classes))
    per_class = _figures_per_class(confusion, auc_per_class(found, labels), classes)
    macro_f1 = float(np.mean([each.f1 for each in per_class if each.f1 is not None]))
    macro_auc = _mean_of_all([each.auc for each in per_class])
    cheap = resampling.resamples * found.size <= _COSTLIEST_AUC_INTERVAL
    bins = reliability(found, labels) if scores != "margin" else ()
    tempered = temperature != 1 and scores == "softmax"
    return Evaluation(
        images=len(labels),
        classes=tuple(classes),
        scores=scores,
        top1=float((predicted == labels).mean()),
        top1_interval=accuracy_interval(predicted == labels, resampling),
        top5=top_accuracy(found, labels, 5) if len(classes) > 5 else None,
        macro_f1=macro_f1,
        macro_f1_interval=resampling.interval_around(
            macro_f1, lambda weights: weighted_macro_f1(weights, labels, predicted)
        ),
        macro_auc=macro_auc,
        macro_auc_interval=resampling.interval_around(
            macro_auc, lambda weights: weighted_macro_auc(weights, labels, found)
        )
        if cheap and auc_interval
        else None,
        ece=_calibration_error(bins) if bins else None,
        nll=negative_log_likelihood(logits, labels, temperature) if scores == "softmax" else None,
        per_class=per_class,
        confusion=tuple(tuple(int(images) for images in row) for row in confusion),
        reliability=bins,
        groups=None if resampling.groups is None else resampling.units,
        top3=top_accuracy(found, labels, 3) if len(classes) > 3 else None,
        ece_untempered=expected_calibration_error(to_scores(logits, scores), labels) if tempered else None,
        nll_untempered=negative_log_likelihood(logits, labels) if tempered else None,
    )


def to_scores(logits: NDArray[np.floating], scores: Scores, temperature: float = 1.0) -> NDArray[np.float64]:
    """(N, C) logits -> probabilities at that temperature; margins stay as they are."""
    values = logits.astype(np.float64)
    if scores == "margin":
        return values
    if scores == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values / temperature)))
    return np.asarray(np.exp(log_softmax(values / temperature)))


def negative_log_likelihood(
    logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0
) -> float:
    """Mean of -log softmax(logits / temperature) of the right class, in nats."""
    found = log_softmax(logits.astype(np.float64) / temperature)
    return float(-found[np.arange(len(labels)), labels].mean())


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.integer], bins: int = BINS) -> tuple[Bin, ...]:
    """Top probability against accuracy in `bins` equal bins of 0..1."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = _places(confidence, bins)
    table = []
    for number in range(bins):
        here = places == number
        any_here = bool(here.any())
        table.append(
            Bin(
                low=number / bins,
                high=(number + 1) / bins,
                images=int(here.sum()),
                confidence=float(confidence[here].mean()) if any_here else None,
                accuracy=float(right[here].mean()) if any_here else None,
            )
        )
    return tuple(table)


def confusion_matrix(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.intp]:
    """(classes, classes) images; row: the right class, column: the predicted one."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def top_accuracy(found: NDArray[np.float64], labels: NDArray[np.integer], top: int) -> float:
    """Share of images whose right class is among the `top` best; of equal scores the later classes come first."""
    best = np.argsort(found, axis=1, kind="stable")[:, -top:]
    return float((best == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Mean gap between top probability and accuracy over equal bins (Guo et al., ICML 2017)."""
    return _calibration_error(reliability(probabilities, labels))


def weighted_calibration_error(
    weights: NDArray[np.float64], probabilities: NDArray[np.float64], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) expected calibration errors, for all draws."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    gaps = np.eye(BINS)[_places(confidence, BINS)] * (confidence - right)[:, None]  # (N, bins)
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


def weighted_macro_f1(
    weights: NDArray[np.float64], labels: NDArray[np.integer], predicted: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) macro-F1 over the classes with weight; scikit-learn's, for all draws."""
    classes = int(max(labels.max(), predicted.max())) + 1
    right = labels == predicted
    values = []
    for row in weights:
        actual = np.bincount(labels, row, classes)
        times = np.bincount(predicted, row, classes)
        hit = np.bincount(labels[right], row[right], classes)
        there = actual > 0
        values.append((2 * hit[there] / (actual + times)[there]).mean())
    return np.array(values)


def _check(found: NDArray[np.float64], labels: NDArray[np.integer], classes: Sequence[str]) -> NDArray[np.intp]:
    if not len(labels):
        raise DataError("no images to evaluate")
    if found.shape != (len(labels), len(classes)):
        raise ValueError(f"wanted scores ({len(labels)}, {len(classes)}), found {found.shape}")
    if bad := int((~np.isfinite(found)).any(axis=1).sum()):
        raise DataError(f"NaN or infinite outputs for {bad} of {len(labels)} images; run `edgeclf verify`")
    return labels.astype(np.intp)


def _figures_per_class(
    confusion: NDArray[np.integer], areas: Sequence[float | None], classes: Sequence[str]
) -> tuple[ClassFigures, ...]:
    figures = []
    for number, label in enumerate(classes):
        hit, support, answered = (
            int(confusion[number, number]),
            int(confusion[number].sum()),
            int(confusion[:, number].sum()),
        )
        precision = hit / answered if answered else None
        recall = hit / support if support else None
        f1 = 2 * hit / (support + answered) if support else None
        figures.append(ClassFigures(label, support, answered, precision, recall, f1, areas[number]))
    return tuple(figures)


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _places(confidence: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """(N,) the bin of each; its upper end belongs to it."""
    return np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)


def _calibration_error(bins: Sequence[Bin]) -> float:
    images = sum(each.images for each in bins)
    gaps = (each.images * abs((each.accuracy or 0.0) - (each.confidence or 0.0)) for each in bins)  # None: no images
    return float(sum(gaps) / images)
