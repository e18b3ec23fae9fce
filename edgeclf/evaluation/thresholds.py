"""Decision thresholds, chosen on validation images: below them a classifier's prediction is "unknown"."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.metrics.energy import energies_of, fit_energy_threshold
from edgeclf_runtime.metrics.intervals import Interval, wilson
from edgeclf_runtime.metrics.metrics import Scores, to_scores
from edgeclf_runtime.metrics.similarity import fit_both_thresholds

_SLACK = 0.1  # below the least confidence seen, as a share of the spread of confidences or of itself


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operating point is to reach, 0..1.

    Precision (of the predictions made) or recall (of all images); or "unknown", the share of images of the known
    classes that may be taken for unknown, by their energy, or by energy and features together. "f1", of each of
    several labels an image: the highest.
    """

    figure: str
    share: float

    def __post_init__(self) -> None:
        if self.figure not in ("precision", "recall", "unknown", "f1"):
            raise UsageError(f"an operating point is for precision, recall, unknown or f1, found {self.figure!r}")
        if self.figure == "unknown" and not 0 < self.share < 0.5:
            raise UsageError(
                f"unknown=P is the share of images of known classes that may be taken for unknown, such as 0.01: above "
                f"0 and below 0.5, found {self.share:g}"
            )
        if not 0 < self.share <= 1:
            raise UsageError(f"a wanted {self.figure} must lie above 0 and be at most 1, found {self.share:g}")

    def __str__(self) -> str:
        return self.figure if self.figure == "f1" else f"{self.figure}={self.share:g}"


def parse_wanted(text: str) -> Wanted:
    """ "precision=0.95" -> Wanted. Raises UsageError."""
    figure, _, share = text.partition("=")
    if text.strip() == "f1":
        return Wanted("f1", 1.0)
    try:
        if figure.strip() == "f1":
            raise ValueError("the highest has no number")
        return Wanted(figure.strip(), float(share))
    except ValueError:
        raise UsageError(
            f"wanted an operating point such as precision=0.95, recall=0.9, unknown=0.01 or f1, found {text!r}"
        ) from None


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds, and what they give on the images that they were chosen on (so the figures are slightly optimistic).

    Attributes
    ----------
    wrong
        Images that are predicted wrongly, whatever the thresholds.
    answered
        Share of images whose prediction is not "unknown".
    precision, recall
        Share of right predictions among those that are not "unknown", and among all images. None: all are.
    interval
        95 % interval of the figure that was wanted, or of the share that is "unknown"; None: all predictions are.
    missed
        Classes (numbers) for which no threshold reaches the wanted figure; -1 for the abstention threshold.
    """

    thresholds: Thresholds
    wanted: Wanted
    images: int
    wrong: int
    answered: float
    precision: float | None
    recall: float
    interval: Interval | None
    missed: tuple[int, ...]

    @property
    def images_needed(self) -> int | None:
        """Images that would narrow the interval to half of the wanted error rate, a point at least; None: these do.

        A precision of 0.95 to 2.5 points, for example.
        """
        if self.interval is None:
            return None
        if self.wanted.figure == "unknown":
            needed = _images_for(1 - self.answered, self.images, self.interval, max(self.wanted.share, 0.01) / 2)
            return None if needed is None else math.ceil(needed / 10) * 10
        of_all = self.wanted.figure == "recall"
        images = self.images if of_all else round(self.answered * self.images)
        found = self.recall if of_all or self.precision is None else self.precision
        close = max((1 - self.wanted.share) / 2, 0.01)
        needed = _images_for(found, images, self.interval, close)
        return None if needed is None else math.ceil(needed * self.images / images / 10) * 10

    @property
    def caution(self) -> str | None:
        """What limits the choice, in words; None: nothing does."""
        if self.interval is None or (needed := self.images_needed) is None:
            return None
        return (
            f"{self.images:,} validation images, {self.wrong} of them predicted wrongly, are few to choose thresholds "
            f"on: {self._figure} on other images may be {self.interval.low:.3f} to {self.interval.high:.3f} "
            f"(95 %); about {needed:,} images would be enough"
        )

    @property
    def _figure(self) -> str:
        return "the share of false alarms" if self.wanted.figure == "unknown" else self.wanted.figure

    def added_to(self, thresholds: Thresholds) -> Thresholds:
        """Thresholds of one kind, beside those of the other kind that were there: of the score, or of the energy."""
        if self.wanted.figure == "unknown":
            return replace(thresholds, energy=self.thresholds.energy, features=self.thresholds.features)
        return replace(self.thresholds, energy=thresholds.energy, features=thresholds.features)

    def check(self) -> None:
        """Raises GateError where one threshold for all classes was wanted and none reaches the figure."""
        if -1 in self.missed:
            raise GateError(
                f"no threshold reaches {self.wanted} on {self.images} validation images; lower the target, or give "
                "--per-class"
            )


def fit_operating_point(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    wanted: Wanted,
    *,
    scores: Scores,
    temperature: float,
    per_class: bool = False,
    similarities: NDArray[np.float64] | None = None,
) -> OperatingPoint:
    """Thresholds of the scores, or of what is unknown, for (N, C) logits of validation images.

    Of the energy alone, or of energy and (N,) `similarities` together where the model gives features.
    Raises UsageError for an energy of margins or one a class, DataError where energies tell nothing.
    """
    if wanted.figure == "f1":
        raise UsageError("--operating-point f1 is for several labels an image; choose precision=P or recall=P")
    found = to_scores(logits, scores, temperature)
    if wanted.figure != "unknown":
        return fit_thresholds(found, labels, wanted, per_class=per_class)
    if per_class:
        raise UsageError("unknown=P is one threshold for all classes; leave out --per-class")
    if scores == "margin":
        raise UsageError("its scores are margins, which have no energy; choose precision=P or recall=P")
    return fit_unknown(energies_of(logits, scores), similarities, found.argmax(axis=1) == labels, wanted)


def fit_unknown(
    energies: NDArray[np.float64],
    similarities: NDArray[np.float64] | None,
    right: NDArray[np.bool_],
    wanted: Wanted,
) -> OperatingPoint:
    """Thresholds of (N,) energies of validation images, and of similarities where the model gives features.

    `right` (N,): the images that are predicted right. Raises DataError as `fit_energy_threshold`.
    """
    if similarities is None:
        energy = fit_energy_threshold(energies, wanted.share)
        return _describe(Thresholds(energy=energy), energies >= energy.below, right, wanted, ())
    energy, features = fit_both_thresholds(energies, similarities, wanted.share)
    known = (energies >= energy.below) & (similarities >= features.below)
    return _describe(Thresholds(energy=energy, features=features), known, right, wanted, ())


def fit_thresholds(
    scores: NDArray[np.float64], labels: NDArray[np.integer], wanted: Wanted, *, per_class: bool = False
) -> OperatingPoint:
    """Thresholds for scores (N, C), probabilities or margins, that reach what is wanted with the fewest "unknown".

    One abstention threshold for all classes, or one a class: that class's precision (of the images predicted as it),
    or its recall (of its images). For a precision the threshold is as low as possible, for a recall as high as
    possible; but hardly below the least confidence of these images, since no prediction there was seen to be right.
    Where nothing reaches it, (almost) all predictions are "unknown" for a precision, and none for a recall.
    """
    if not len(labels):
        raise DataError("no images to choose thresholds on")
    predicted = scores.argmax(axis=1)
    confidence, right = scores.max(axis=1), predicted == labels
    if not per_class:
        threshold, reached = threshold_for(confidence, right, len(labels), wanted)
        missed = () if reached else (-1,)
        return _describe(Thresholds(unknown_below=threshold), confidence >= threshold, right, wanted, missed)
    least, lacking = [], []
    for number in range(scores.shape[1]):
        here = predicted == number
        threshold, reached = threshold_for(confidence[here], right[here], int((labels == number).sum()), wanted)
        least.append(threshold)
        if not reached:
            lacking.append(number)
    known = confidence >= np.array(least)[predicted]
    return _describe(Thresholds(per_class=tuple(least)), known, right, wanted, tuple(lacking))


def threshold_for(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], images: int, wanted: Wanted
) -> tuple[float, bool]:
    """(threshold, whether it reaches what is wanted) for predictions, of `images` that should have been found.

    It lies half-way between two confidences, so that another engine's rounding moves no image across it.
    """
    if not len(confidence):
        return 0.0, wanted.figure == "precision" or images == 0
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(right[order])
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # equal confidences pass together
    if wanted.figure == "f1":
        fine = ends[[int(np.argmax(hits[ends] / (ends + 1 + images)))]]
        last = int(fine[0])
    elif wanted.figure == "precision":
        fine = ends[hits[ends] / (ends + 1) >= wanted.share]
        last = int(fine[-1]) if len(fine) else -1
    else:
        fine = ends[hits[ends] >= wanted.share * images]
        last = int(fine[0]) if len(fine) else len(ranked) - 1
    if last < 0:
        return float(np.nextafter(ranked[0], np.inf)), False
    if last + 1 == len(ranked):  # all pass
        if not len(fine):
            return min(0.0, float(ranked[-1])), False
        return float(ranked[-1]) - _SLACK * max(float(ranked[0] - ranked[-1]), abs(float(ranked[-1]))), True
    return float(ranked[last] + ranked[last + 1]) / 2, bool(len(fine))


def _describe(
    thresholds: Thresholds, known: NDArray[np.bool_], right: NDArray[np.bool_], wanted: Wanted, missed: tuple[int, ...]
) -> OperatingPoint:
    answered, hits = int(known.sum()), int((known & right).sum())
    counted = answered if wanted.figure == "precision" else len(right)
    reached = len(right) - answered if wanted.figure == "unknown" else hits
    return OperatingPoint(
        thresholds=thresholds,
        wanted=wanted,
        images=len(right),
        wrong=int((~right).sum()),
        answered=answered / len(right),
        precision=hits / answered if answered else None,
        recall=hits / len(right),
        interval=wilson(reached, counted) if counted else None,
        missed=missed,
    )


def _images_for(share: float, images: int, interval: Interval, close: float) -> int | None:
    """How many images would bring the half width of the share's interval to `close`; None: these do."""
    if _half_width(interval) <= close:
        return None
    share = (share * images + 1) / (images + 2)  # Laplace's rule: no error in 54 images does not mean a rate of 0
    needed = images
    while _half_width(wilson(share * needed, needed)) > close:
        needed = math.ceil(1.05 * needed)
    return needed


def _half_width(interval: Interval) -> float:
    return (interval.high - interval.low) / 2
