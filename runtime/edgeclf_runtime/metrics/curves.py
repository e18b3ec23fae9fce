"""ROC and precision-recall curves of each class against the rest, thinned to what a plot or a page can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.auc import one_vs_rest

MOST_POINTS = 100
MOST_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Curves:
    """One class against the rest: points (x, y) of both curves, the area under the ROC, and the average precision."""

    label: str
    auc: float
    average_precision: float
    share: float
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]


def hardest_of(areas: Sequence[Sequence[float | None]], most: int = MOST_CLASSES) -> set[int]:
    """Numbers of the `most` classes with the smallest area under the ROC in any of several rows (rows x classes)."""
    known = [
        (min(found), number) for number, column in enumerate(zip(*areas, strict=True)) if (found := _given(column))
    ]
    return {number for _, number in sorted(known)[:most]}


def _given(column: Sequence[float | None]) -> list[float]:
    return [area for area in column if area is not None]


def curves_of(
    scores: NDArray[np.float64],
    labels: NDArray[np.generic],
    classes: Sequence[str],
    areas: Sequence[float | None],
    most: int = MOST_CLASSES,
) -> tuple[Curves, ...]:
    """The curves for scores (N, C), at most `most` classes: those with the smallest of the `areas` under the ROC.

    A class without images, or with all of them, has none. ROC: false positive rate, true positive rate. The other:
    recall, precision. `labels` as `one_vs_rest` takes them. `share` is the class's part of the images, the precision of
    blind guessing.
    """
    known = [(area, number) for number, area in enumerate(areas) if area is not None]
    owns = one_vs_rest(labels, scores.shape[1])
    found = []
    for area, number in sorted(sorted(known)[:most], key=lambda each: each[1]):
        own, column = owns[:, number], scores[:, number]
        hits, misses = _counts_by_threshold(own, column)
        recall, precision = hits / hits[-1], hits / (hits + misses)
        false, true = np.concatenate([[0.0], misses / misses[-1]]), np.concatenate([[0.0], recall])
        steps = np.diff(true)
        found.append(
            Curves(
                label=classes[number],
                auc=area,
                average_precision=float((steps * precision).sum()),
                share=float(own.mean()),
                roc=_thin(false, true),
                precision_recall=_thin(true, np.concatenate([[1.0], precision])),
            )
        )
    return tuple(found)


def _counts_by_threshold(
    own: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many of the class, and of the rest, have each distinct score or a higher one, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], own[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.cumsum(hits)[last].astype(np.float64), np.cumsum(~hits)[last].astype(np.float64)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """At most about 2 x MOST_POINTS points, evenly along both axes; the ends are always there."""
    if len(x) > 2 * MOST_POINTS:
        steps = np.linspace(0, 1, MOST_POINTS)
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(length, steps * length[-1]).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return tuple((round(float(a), 5), round(float(b), 5)) for a, b in zip(x, y, strict=True))
