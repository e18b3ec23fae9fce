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


def passes(found: NDArray[np.float64], thresholds: Thresholds) -> NDArray[np.bool_] | None:
    """(N,) where the thresholds let the best class of scores (N, C) pass; None without thresholds."""
    least, per_class = thresholds.unknown_below, thresholds.per_class
    if least is None and per_class is None:
        return None
    best = found.max(axis=1)
    known = np.ones(len(found), dtype=bool) if least is None else best >= least
    return known if per_class is None else known & (best >= np.array(per_class)[found.argmax(axis=1)])


def decided(found: NDArray[np.float64], labels: NDArray[np.intp], thresholds: Thresholds) -> Decided | None:
    """Of scores (N, C) in the order of the model's classes, as the thresholds are; None without thresholds."""
    known = passes(found, thresholds)
    if known is None:
        return None
    right = found.argmax(axis=1) == labels
    return Decided(in_words(thresholds), float(1 - known.mean()), float(right[known].mean()) if known.any() else None)


def in_words(thresholds: Thresholds) -> str:
    """ "unknown below 0.62", "unknown below 0.31 to 0.88 by class"."""
    parts = [] if thresholds.unknown_below is None else [f"{thresholds.unknown_below:.3g}"]
    if thresholds.per_class is not None:
        parts.append(f"{min(thresholds.per_class):.3g} to {max(thresholds.per_class):.3g} by class")
    return f"unknown below {' and '.join(parts)}" if parts else ""
