"""A bundle against its reference on the same labelled images: what changed, and whether it is still as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.proof import TOLERANCES, compare, verdict_of
from edgeclf_runtime.bundle.proof import Comparison as LogitComparison
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.intervals import Interval, Resampling, mean_of, number_groups
from edgeclf_runtime.metrics.logits import kl_divergences
from edgeclf_runtime.metrics.main_figure import Figure, top1_or_map
from edgeclf_runtime.metrics.metrics import Evaluation
from edgeclf_runtime.metrics.paired import (
    TWO_BOUNDS,
    change_bounds,
    change_verdict,
    images_to_settle,
    in_points,
    mcnemar_p,
    on_images,
)
from edgeclf_runtime.metrics.verdict import Verdict

MARGIN_POINTS = 1.0
_SMALLEST = 1e-12  # a probability of 0 would make the divergence infinite


@dataclass(frozen=True, slots=True)
class Parity:
    """A row against the reference row, on the same images.

    Attributes
    ----------
    right_to_wrong, wrong_to_right
        b and c: images that only the reference, or only this row, predicts rightly.
    flips
        Share of images whose prediction became right or wrong: (b + c) / N. Two different wrong ones are no flip.
    agreement
        Share of equal top-1 predictions.
    mean_kl, p99_kl
        Kullback-Leibler divergence of this row's probabilities from the reference's, nats; None for margins.
    change_points
        This row's top-1, or `figure`, minus the reference's, with the 95 % interval of a paired bootstrap.
    lower_bound_points, upper_bound_points
        One-sided 95 % bounds of that change; the verdict is "pass" where the lower one lies above -margin_points.
    mcnemar_p
        Exact two-sided McNemar test. A p above 0.05 is no proof of parity.
    worst_class, worst_class_change_points
        The class whose recall falls most; with several labels an image the label whose average precision does.
    images_needed
        Images, of this kind, that would settle an inconclusive verdict; None: it is settled, or more images never will.
    logits
        This row's outputs against the reference's, image by image; None in reports of earlier versions. Within the
        limits of fp32 both are one model, and the verdict is "pass" however few the images are.
    figure, decisions
        What changed: "top-1", or "mAP" where images may have several labels; and how many decisions there were then,
        one a label of each image: b, c, flips and agreement count those.
    """

    reference: str
    reference_digest: str
    images: int
    right_to_wrong: int
    wrong_to_right: int
    flips: float
    agreement: float
    mean_kl: float | None
    p99_kl: float | None
    change_points: float = field(metadata=top1_or_map("top1_change_points"))
    change_interval_points: Interval | None = field(metadata=top1_or_map("top1_change_interval_points"))
    lower_bound_points: float
    mcnemar_p: float
    macro_f1_change: float
    ece_change: float | None
    worst_class: str | None
    worst_class_change_points: float | None
    margin_points: float
    verdict: Verdict
    reason: str
    images_needed: int | None
    upper_bound_points: float | None = None
    logits: LogitComparison | None = None
    figure: Figure = field(default="top-1", metadata=LATER)
    decisions: int | None = field(default=None, metadata=LATER)

    @property
    def same_logits(self) -> bool:
        """Whether every image's outputs lie within the limits of fp32 from the reference's."""
        return self.logits is not None and verdict_of(self.logits, TOLERANCES["fp32"])[0] == "pass"

    @property
    def more_images(self) -> int | None:
        """Images, beside those that there are, that would settle an inconclusive verdict; None as `images_needed`."""
        return None if self.images_needed is None else max(1, self.images_needed - self.images)


@dataclass(frozen=True, slots=True)
class RowPredictions:
    """One row's predictions for the labelled images, in the order of the data's classes, and the figures.

    `scores` (N, C) are probabilities or margins, `outputs` (N, C) what the model itself gave.
    """

    scores: NDArray[np.float64]
    evaluation: Evaluation
    outputs: NDArray[np.float32] | None = None

    @property
    def numbers(self) -> NDArray[np.intp]:
        """(N,) number of the predicted class."""
        return np.asarray(self.scores.argmax(axis=1))


def parity_of(
    row: RowPredictions,
    reference: RowPredictions,
    labels: NDArray[np.intp],
    *,
    name: str,
    digest: str,
    groups: Sequence[str | None] | None = None,
    margin_points: float = MARGIN_POINTS,
    seed: int = 0,
) -> Parity:
    """What changes from the reference (called `name`) to the row, and the non-inferiority verdict.

    Equal logits prove more than labels, and pass whatever the bounds are. With groups, whole groups are drawn: the
    bounds are the bootstrap's then, unless nothing changed at all.
    """
    images = len(labels)
    right, wanted = row.numbers == labels, reference.numbers == labels
    lost, gained = int((wanted & ~right).sum()), int((right & ~wanted).sum())
    resampling = Resampling(images, number_groups(groups), seed=seed)
    lower, upper, spread = bounds_of_change(right, wanted, resampling)
    margin = margin_points / 100
    logits = compare_logits(row.outputs, reference.outputs)
    same = logits is not None and verdict_of(logits, TOLERANCES["fp32"])[0] == "pass"
    verdict = "pass" if same else change_verdict(lower, upper, margin)
    more = images_to_settle(lost, gained, images, margin, spread=spread) if verdict == "inconclusive" else None
    kl = _divergences(reference, row)
    worst = _worst_class(row.evaluation, reference.evaluation)
    return Parity(
        reference=name,
        reference_digest=digest,
        images=images,
        right_to_wrong=lost,
        wrong_to_right=gained,
        flips=(lost + gained) / images,
        agreement=float((row.numbers == reference.numbers).mean()),
        mean_kl=None if kl is None else float(kl.mean()),
        p99_kl=None if kl is None else float(np.percentile(kl, 99)),
        change_points=100 * (gained - lost) / images,
        change_interval_points=_interval(right, wanted, resampling),
        lower_bound_points=100 * lower,
        mcnemar_p=mcnemar_p(lost, gained),
        macro_f1_change=row.evaluation.macro_f1 - reference.evaluation.macro_f1,
        ece_change=_difference(row.evaluation.ece, reference.evaluation.ece),
        worst_class=worst[0],
        worst_class_change_points=worst[1],
        margin_points=margin_points,
        verdict=verdict,
        reason=same_logits_sentence(logits)
        if same and logits
        else _reason(verdict, lower, upper, margin_points, images, more),
        images_needed=more,
        upper_bound_points=100 * upper,
        logits=logits,
    )


def compare_logits(
    row: NDArray[np.float32] | None,
    reference: NDArray[np.float32] | None,
    label_logits: NDArray[np.float64] | None = None,
) -> LogitComparison | None:
    """Image by image; None where outputs are not known. `label_logits` as `compare` takes them."""
    if row is None or reference is None:
        return None
    return compare(reference, row, TOLERANCES["fp32"], label_logits)


def same_logits_sentence(logits: LogitComparison) -> str:
    """Why outputs within the limits of fp32 pass."""
    return (
        f"its logits are the reference's on all {logits.images} images, to within {logits.max_relative:.1e} of their "
        f"range (fp32 may differ by {TOLERANCES['fp32'].relative:g})"
    )


def bounds_of_change(
    right: NDArray[np.bool_], wanted: NDArray[np.bool_], resampling: Resampling
) -> tuple[float, float, float]:
    """One-sided 95 % bounds of the change of top-1, and how much wider they are than those of independent images."""
    images = len(right)
    lost, gained = int((wanted & ~right).sum()), int((right & ~wanted).sum())
    lower, upper = change_bounds(lost, gained, images)
    if resampling.groups is None:
        return lower, upper, 1.0
    units = resampling.units
    fewest = change_bounds(lost * units / images, gained * units / images, units)  # as if a group were one image
    change = right.astype(np.float64) - wanted
    drawn = resampling.draws(mean_of(change))
    if drawn.min() == drawn.max():
        return *fewest, (images / units) ** 0.5
    low, high = np.percentile(drawn, [5, 95])
    spread = max(1.0, float(high - low) / (upper - lower))
    return float(low), float(high), spread


def _interval(right: NDArray[np.bool_], wanted: NDArray[np.bool_], resampling: Resampling) -> Interval | None:
    """Paired bootstrap of the change of top-1 in points; None where no image changed."""
    change = 100 * (right.astype(np.float64) - wanted)
    return resampling.interval(mean_of(change))


def _divergences(reference: RowPredictions, row: RowPredictions) -> NDArray[np.float64] | None:
    """(N,) KL(reference || row) in nats; None unless both give probabilities that sum to 1."""
    if reference.evaluation.scores != "softmax" or row.evaluation.scores != "softmax":
        return None
    wanted, found = (np.log(np.maximum(each.scores, _SMALLEST)) for each in (reference, row))
    return kl_divergences(wanted, found)


def _worst_class(row: Evaluation, reference: Evaluation) -> tuple[str | None, float | None]:
    """The class whose recall falls most, and by how many points (negative); None where none falls."""
    changes = [
        (100 * (mine.recall - other.recall), mine.label)
        for mine, other in zip(row.per_class, reference.per_class, strict=True)
        if mine.recall is not None and other.recall is not None
    ]
    change, label = min(changes)
    return (label, change) if change < 0 else (None, None)


def _difference(mine: float | None, other: float | None) -> float | None:
    return None if mine is None or other is None else mine - other


def _reason(verdict: Verdict, lower: float, upper: float, margin: float, images: int, more: int | None) -> str:
    """`lower` and `upper` are shares, `margin` is points."""
    lower, upper = 100 * lower, 100 * upper
    if verdict == "pass":
        return (
            f"top-1 falls by less than {in_points(margin)}: at worst {lower:+.2f} (one-sided 95 %; {on_images(images)})"
        )
    if verdict == "fail":
        return (
            f"top-1 falls by more than {in_points(margin)}: at best {upper:+.2f} (one-sided 95 %; {on_images(images)})"
        )
    needed = f"about {more} images of this kind would settle it" if more else "more images would not settle it"
    bounds = f"{lower:+.2f} to {upper:+.2f} points ({TWO_BOUNDS}; {on_images(images)})"
    return f"top-1 changes by {bounds}, the margin is {margin:g}; {needed}"
