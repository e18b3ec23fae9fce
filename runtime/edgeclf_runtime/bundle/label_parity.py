"""A bundle against its reference where images may have several labels: flips of labels, and the change of mAP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.parity import Parity, compare_logits, same_logits_sentence
from edgeclf_runtime.bundle.proof import TOLERANCES, verdict_of
from edgeclf_runtime.metrics.intervals import Resampling, number_groups
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation
from edgeclf_runtime.metrics.paired import TWO_BOUNDS, change_verdict, in_points, mcnemar_p
from edgeclf_runtime.metrics.paired_labels import MapChange, map_change
from edgeclf_runtime.metrics.verdict import Verdict

_SMALLEST = 1e-12  # a probability of 0 would make the divergence infinite


@dataclass(frozen=True, slots=True)
class LabelPredictions:
    """One row's predictions for images with several labels, in the order of the data's classes, and the figures.

    `scores` (N, labels) are probabilities, `predicted` (N, labels) where they reach the row's own thresholds,
    `label_logits` (labels,) the logits that are these thresholds, `outputs` (N, labels) what the model itself gave.
    """

    scores: NDArray[np.float64]
    predicted: NDArray[np.bool_]
    evaluation: MultiLabelEvaluation
    outputs: NDArray[np.float32]
    label_logits: NDArray[np.float64] | None = None

    @property
    def numbers(self) -> NDArray[np.intp]:
        """(N,) number of the label with the highest score, predicted or not."""
        return np.asarray(self.scores.argmax(axis=1))


def label_parity_of(
    row: LabelPredictions,
    reference: LabelPredictions,
    right: NDArray[np.bool_],
    *,
    name: str,
    digest: str,
    groups: Sequence[str | None] | None = None,
    margin_points: float,
    seed: int = 0,
) -> Parity:
    """What `parity_of` is for one label: (N, labels) which labels are there, the margin in points of mAP.

    Each row decides at its own thresholds. McNemar's test is of the images whose labels are all right.
    """
    mine, other = row.predicted == right, reference.predicted == right
    lost, gained = int((other & ~mine).sum()), int((mine & ~other).sum())
    resampling = Resampling(len(right), number_groups(groups), seed=seed)
    found = map_change(row.scores, reference.scores, right, resampling)
    logits = compare_logits(row.outputs, reference.outputs, reference.label_logits)
    same = logits is not None and verdict_of(logits, TOLERANCES["fp32"])[0] == "pass"
    verdict = "pass" if same else change_verdict(found.lower, found.upper, margin_points / 100)
    more = _images_to_settle(found, len(right), margin_points / 100) if verdict == "inconclusive" else None
    whole, wanted = mine.all(axis=1), other.all(axis=1)
    kl = _divergences(reference.scores, row.scores)
    worst = _worst_label(row.evaluation, reference.evaluation)
    return Parity(
        reference=name,
        reference_digest=digest,
        images=len(right),
        right_to_wrong=lost,
        wrong_to_right=gained,
        flips=(lost + gained) / right.size,
        agreement=float((row.predicted == reference.predicted).mean()),
        mean_kl=float(kl.mean()),
        p99_kl=float(np.percentile(kl, 99)),
        change_points=100 * found.change,
        change_interval_points=found.interval,
        lower_bound_points=100 * found.lower,
        mcnemar_p=mcnemar_p(int((wanted & ~whole).sum()), int((whole & ~wanted).sum())),
        macro_f1_change=(row.evaluation.macro_f1 or 0.0) - (reference.evaluation.macro_f1 or 0.0),
        ece_change=row.evaluation.macro_ece - reference.evaluation.macro_ece,
        worst_class=worst[0],
        worst_class_change_points=worst[1],
        margin_points=margin_points,
        verdict=verdict,
        reason=same_logits_sentence(logits) if same and logits else _reason(verdict, found, margin_points, right, more),
        images_needed=more,
        upper_bound_points=100 * found.upper,
        logits=logits,
        figure="mAP",
        decisions=right.size,
    )


def _images_to_settle(found: MapChange, images: int, margin: float) -> int | None:
    """Images of this kind whose bound would lie above the margin, as intervals shrink with their square root."""
    room = found.change + margin
    if room <= 0:
        return None
    return math.ceil(images * ((found.change - found.lower) / room) ** 2 / 10) * 10


def _divergences(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) KL(wanted || found) of the labels' probabilities, the mean of an image's labels, in nats."""
    p, q = (np.clip(each, _SMALLEST, 1 - _SMALLEST) for each in (wanted, found))
    both = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return np.asarray(np.maximum(both, 0.0).mean(axis=1))


def _worst_label(row: MultiLabelEvaluation, reference: MultiLabelEvaluation) -> tuple[str | None, float | None]:
    """The label whose average precision falls most, and by how many points (negative); None where none falls."""
    changes = [
        (100 * (mine.average_precision - other.average_precision), mine.label)
        for mine, other in zip(row.per_label, reference.per_label, strict=True)
        if mine.average_precision is not None and other.average_precision is not None
    ]
    change, label = min(changes, default=(0.0, ""))
    return (label, change) if change < 0 else (None, None)


def _reason(verdict: Verdict, found: MapChange, margin: float, right: NDArray[np.bool_], more: int | None) -> str:
    lower, upper, images = 100 * found.lower, 100 * found.upper, f"{len(right)} images"
    if verdict == "pass":
        return f"mAP falls by less than {in_points(margin)}: at worst {lower:+.2f} (one-sided 95 %; {images})"
    if verdict == "fail":
        return f"mAP falls by more than {in_points(margin)}: at best {upper:+.2f} (one-sided 95 %; {images})"
    needed = f"about {more} images of this kind would settle it" if more else "more images would not settle it"
    bounds = f"{lower:+.2f} to {upper:+.2f} points ({TWO_BOUNDS}; {images})"
    return f"mAP changes by {bounds}, the margin is {margin:g}; {needed}"
