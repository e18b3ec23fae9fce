"""Areas under one-vs-rest ROC curves, for weighted images: as many bootstrap draws at a time as there are weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def one_vs_rest(labels: NDArray[np.generic], classes: int) -> NDArray[np.bool_]:
    """(N, classes) whether each image is of each class, from (N,) class numbers or (N, classes) targets of 0 and 1."""
    if labels.ndim == 2:
        return labels.astype(np.bool_)
    return np.asarray(labels[:, np.newaxis] == np.arange(classes))


def auc_per_class(found: NDArray[np.float64], labels: NDArray[np.generic]) -> list[float | None]:
    """Area under each class's one-vs-rest ROC curve; None where the class has no image, or all of them.

    `labels`: what `one_vs_rest` takes.
    """
    areas = _weighted_aucs(np.ones((1, len(labels))), labels, found)[:, 0]
    return [None if np.isnan(area) else float(area) for area in areas]


def weighted_macro_auc(
    weights: NDArray[np.float64], labels: NDArray[np.generic], found: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(B, N) weights -> (B,) mean one-vs-rest AUC over the classes with weight."""
    areas = _weighted_aucs(weights, labels, found)
    there = ~np.isnan(areas)
    return np.asarray(np.where(there, areas, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1))


def _weighted_aucs(
    weights: NDArray[np.float64], labels: NDArray[np.generic], found: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(B, N) weights -> (classes, B) one-vs-rest AUC (Mann-Whitney, ties count half); NaN for an empty side."""
    areas, owns = np.full((found.shape[1], len(weights)), np.nan), one_vs_rest(labels, found.shape[1])
    for number in range(found.shape[1]):
        order = np.argsort(found[:, number], kind="stable")
        scores, own = found[order, number], owns[order, number]
        starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))  # of runs of equal scores
        drawn = weights[:, order]
        positive = np.add.reduceat(drawn * own, starts, axis=1)
        negative = np.add.reduceat(drawn * ~own, starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        np.divide((positive * below).sum(axis=1), pairs, out=areas[number], where=pairs > 0)
    return areas
