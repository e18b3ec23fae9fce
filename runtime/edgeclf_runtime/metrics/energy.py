"""Energy: how much a classifier's logits speak for any of its classes, and the threshold below which they don't.

Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020; its sign is turned: what is known is high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError

_SLACK = 0.1  # below the least energy seen, as a share of the spread
_ALIKE = 1e-4  # a spread that rounding alone makes


@dataclass(frozen=True, slots=True)
class EnergyThreshold:
    """Below this energy an image is unknown.

    Attributes
    ----------
    below
        In nats, as the logits are.
    false_alarms
        The share of images of the known classes that may be unknown, 0..1, as it was requested.
    images
        Validation images that it was chosen on.
    """

    below: float
    false_alarms: float
    images: int

    def __str__(self) -> str:
        alarms = in_words(self.false_alarms)
        return f"energy {self.below:.3g} (false alarms {alarms}, on {self.images:,} validation images)"


def energies_of(logits: NDArray[np.floating], scores: str) -> NDArray[np.float64]:
    """(N, classes) logits -> (N,) energies in nats: log-sum-exp, or for sigmoid classes the sum of log(1 + exp).

    The temperature plays no part: it orders images no better. Sigmoid: Wang et al., NeurIPS 2021. Raises DataError for
    margins, which have no energy.
    """
    if scores == "margin":
        raise DataError("margins, such as those of an SVM, have no energy")
    values = logits.astype(np.float64)
    if scores == "sigmoid":
        return np.asarray(np.logaddexp(0.0, values).sum(axis=1))
    highest = values.max(axis=1)
    with np.errstate(invalid="ignore"):  # infinite logits become NaN, which is reported elsewhere
        return np.asarray(highest + np.log(np.exp(values - highest[:, np.newaxis]).sum(axis=1)))


def fit_energy_threshold(energies: NDArray[np.float64], false_alarms: float) -> EnergyThreshold:
    """The highest threshold that leaves at most the share `false_alarms` of (N,) energies of known images below it.

    It lies half-way between two of them, so that another engine's rounding moves no image across it. Where not even
    one image may lie below it, it is a tenth of their spread below the least.

    Raises DataError where there is no image, and where all have the same energy: outputs that are probabilities.
    """
    if not len(energies):
        raise DataError("no images to choose a threshold on")
    ordered = np.sort(energies)
    spread = float(ordered[-1] - ordered[0])
    if len(ordered) > 1 and not spread > _ALIKE:
        raise DataError(
            "the energies of all images are the same, as those of probabilities are: the model's output has no logits, "
            "and no energy can tell what is unknown; choose precision=P instead"
        )
    return EnergyThreshold(least_of(energies, allowed_below(len(ordered), false_alarms)), false_alarms, len(ordered))


def allowed_below(images: int, share: float) -> int:
    """How many of the images are at most that share of them."""
    return math.floor(share * images + 1e-9)


def least_of(values: NDArray[np.float64], allowed: int) -> float:
    """The highest threshold with at most `allowed` of (N,) values below it, half-way between two of them.

    Of equal values either all lie below it or none. With none below it lies a tenth of their spread under the least.
    """
    ordered = np.sort(values)
    allowed = int(np.searchsorted(ordered, ordered[min(allowed, len(ordered) - 1)], "left"))
    if allowed:
        return float(ordered[allowed - 1] + ordered[allowed]) / 2
    return float(ordered[0]) - _SLACK * float(ordered[-1] - ordered[0])


def in_words(share: float) -> str:
    """ "1.0%"; of a very small one the number."""
    return f"{share:.3g}" if share < 0.001 else f"{share:.1%}"
