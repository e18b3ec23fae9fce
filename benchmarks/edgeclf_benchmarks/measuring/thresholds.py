"""Decision thresholds: which images get a class, and how many of those predictions are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Thresholds


@dataclass(frozen=True, slots=True)
class Decided:
    """Predictions for labelled images under thresholds.

    Attributes
    ----------
    thresholds
        In words.
    unknown
        Share of images that are predicted as "unknown".
    right
        Accuracy on the other images; None: there are none.
    """

    thresholds: str
    unknown: float
    right: float | None


def passes(
    found: NDArray[np.float64],
    thresholds: Thresholds,
    energies: NDArray[np.float64] | None = None,
    similarities: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_] | None:
    """(N,) where the thresholds let the best class of scores (N, C) pass; None without thresholds.

    `energies` (N,): None where the scores are margins, which have none. `similarities` (N,): None where features are
    not known.
    """
    if not thresholds.given:
        return None
    best, known = found.max(axis=1), np.ones(len(found), dtype=bool)
    if thresholds.unknown_below is not None:
        known &= best >= thresholds.unknown_below
    if thresholds.per_class is not None:
        known &= best >= np.array(thresholds.per_class)[found.argmax(axis=1)]
    if thresholds.energy is not None and energies is not None:
        known &= energies >= thresholds.energy.below
    if thresholds.features is not None and similarities is not None:
        known &= similarities >= thresholds.features.below
    return known


def decided(
    found: NDArray[np.float64],
    labels: NDArray[np.intp],
    thresholds: Thresholds,
    energies: NDArray[np.float64] | None = None,
) -> Decided | None:
    """Of scores (N, C) in the order of the model's classes, as the thresholds are; None without thresholds."""
    known = passes(found, thresholds, energies)
    if known is None:
        return None
    right = found.argmax(axis=1) == labels
    return Decided(str(thresholds), float(1 - known.mean()), float(right[known].mean()) if known.any() else None)
