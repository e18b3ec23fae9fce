"""A threshold for each label, chosen on validation images: at it or above, the label is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.sources import some
from edgeclf.evaluation.thresholds import Wanted, threshold_for
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.multilabel import THRESHOLD

_FEW = 10  # validation images that have a label: with fewer, its threshold is as uncertain as its recall
BEST_F1 = Wanted("f1", 1.0)


@dataclass(frozen=True, slots=True)
class LabelThresholds:
    """Thresholds of the labels' probabilities, in their order, and the images that they were chosen on.

    Attributes
    ----------
    few
        Labels that fewer than 10 of the images have, and how many have them.
    unseen
        Labels that none has: their threshold is 0.5.
    missed
        Labels for which no threshold reaches the wanted precision: they are (almost) never predicted.
    """

    values: tuple[float, ...]
    wanted: Wanted
    images: int
    few: tuple[tuple[str, int], ...] = ()
    unseen: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    def added_to(self, thresholds: Thresholds) -> Thresholds:
        """These in the place of the labels' thresholds that were there."""
        return replace(thresholds, per_class=self.values)

    @property
    def range_in_words(self) -> str:
        """ "0.312 to 0.804", or "0.500" where all labels have the same."""
        low, high = f"{min(self.values):.3f}", f"{max(self.values):.3f}"
        return low if low == high else f"{low} to {high}"

    @property
    def cautions(self) -> tuple[str, ...]:
        """What limits the choice, a sentence each."""
        few, unseen = some(f"{label!r} ({images})" for label, images in self.few), some(map(repr, self.unseen))
        sentences = {
            f"labels on fewer than {_FEW} validation images: {few}; their thresholds are uncertain": self.few,
            f"no validation image has {unseen}; the threshold stays at {THRESHOLD:g}": self.unseen,
            f"no threshold reaches {self.wanted} for {some(map(repr, self.missed))}": self.missed,
        }
        return tuple(sentence for sentence, labels in sentences.items() if labels)


def fit_label_thresholds(
    probabilities: NDArray[np.float64], targets: NDArray[np.generic], classes: Sequence[str], wanted: Wanted
) -> LabelThresholds:
    """The thresholds that reach what is wanted of each label: (N, labels) probabilities and targets of 0 and 1.

    For "f1" the one of the highest F1; for a precision the lowest that reaches it, for a recall the highest. Each lies
    half-way between two probabilities that were seen, so that another engine's rounding moves no image across it.

    Raises DataError where there is no image.
    """
    if not len(targets):
        raise DataError("no images to choose thresholds on")
    having = targets.sum(axis=0).astype(int).tolist()
    values, missed = [], []
    for number, label in enumerate(classes):
        if not having[number]:
            values.append(THRESHOLD)
            continue
        right = targets[:, number].astype(np.bool_)
        value, reached = threshold_for(probabilities[:, number], right, having[number], wanted)
        values.append(min(max(value, 0.0), 1.0))
        if not reached:
            missed.append(label)
    counted = list(zip(classes, having, strict=True))
    return LabelThresholds(
        values=tuple(values),
        wanted=wanted,
        images=len(targets),
        few=tuple((label, images) for label, images in counted if 0 < images < _FEW),
        unseen=tuple(label for label, images in counted if not images),
        missed=tuple(missed),
    )
