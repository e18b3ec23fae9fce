"""A bundle against its reference on the same labelled images: what changed, and whether it is still as good."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf_benchmarks.intervals import Interval
from edgeclf_runtime.proof import Verdict


@dataclass(frozen=True, slots=True)
class Parity:
    """A row against the reference row, on the same images.

    Attributes
    ----------
    right_to_wrong, wrong_to_right
        b and c: images that only the reference, or only this row, answers rightly.
    flips
        Images whose rightness changed over all images: (b + c) / N. Two different wrong answers are no flip.
    agreement
        Share of equal top-1 answers.
    mean_kl, p99_kl
        Kullback-Leibler divergence of this row's probabilities from the reference's, nats; None for margins.
    top1_change_points
        This row's top-1 minus the reference's, with the 95 % interval of a paired bootstrap.
    lower_bound_points
        One-sided 95 % lower bound of that change; the verdict is "pass" where it lies above -margin_points.
    mcnemar_p
        Exact two-sided McNemar test. A p above 0.05 is no proof of parity.
    worst_class, worst_class_change_points
        The class whose recall falls most.
    images_needed
        Images, of this kind, that would settle an inconclusive verdict; None: it is settled, or more images never will.
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
    top1_change_points: float
    top1_change_interval_points: Interval | None
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
