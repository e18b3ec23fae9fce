"""Average precision of each label, for weighted images: as many bootstrap draws at a time as there are weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precisions(found: NDArray[np.float64], targets: NDArray[np.bool_]) -> list[float | None]:
    """(N, labels) scores and what is right -> each label's average precision; None for one that no image has."""
    values = _weighted(np.ones((1, len(found))), found, targets)[:, 0]
    return [None if np.isnan(value) else float(value) for value in values]


def mean_average_precision(found: NDArray[np.float64], targets: NDArray[np.bool_]) -> float | None:
    """mAP: the mean over the labels that images have; None where no image has any."""
    known = [value for value in average_precisions(found, targets) if value is not None]
    return float(np.mean(known)) if known else None


def weighted_mean_average_precision(
    weights: NDArray[np.float64], found: NDArray[np.float64], targets: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) mean average precision over the labels that images with weight have."""
    values = _weighted(weights, found, targets)
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1))


def _weighted(
    weights: NDArray[np.float64], found: NDArray[np.float64], targets: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(labels, B): the sum over thresholds of precision times the recall gained there, as scikit-learn's.

    Images of equal scores pass a threshold together. NaN where no image with weight has the label.
    """
    values = np.full((found.shape[1], len(weights)), np.nan)
    for number in range(found.shape[1]):
        order = np.argsort(-found[:, number], kind="stable")
        scores, own = found[order, number], targets[order, number]
        ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # of runs of equal scores
        drawn = weights[:, order]
        hits, passed = np.cumsum(drawn * own, axis=1)[:, ends], np.cumsum(drawn, axis=1)[:, ends]
        precision = np.divide(hits, passed, out=np.zeros_like(hits), where=passed > 0)
        gained = np.diff(hits, axis=1, prepend=0.0)
        np.divide((precision * gained).sum(axis=1), hits[:, -1], out=values[number], where=hits[:, -1] > 0)
    return values
