"""ROC and precision-recall curves of each class against the rest, thinned to what a picture or a page can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def curves_of(
    scores: NDArray[np.float64],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    areas: Sequence[float | None],
    most: int = MOST_CLASSES,
) -> tuple[Curves, ...]:
    """The curves for scores (N, C), at most `most` classes: those with the smallest of the `areas` under the ROC.

    A class without images, or with all of them, has none. ROC: false positive rate, true positive rate. The other:
    recall, precision. `share` is the class's part of the images, the precision of blind guessing.
    """
    from sklearn import metrics

    known = [(area, number) for number, area in enumerate(areas) if area is not None]
    found = []
    for area, number in sorted(sorted(known)[:most], key=lambda each: each[1]):
        own, column = labels == number, scores[:, number]
        false, true, _ = metrics.roc_curve(own, column)
        precision, recall, _ = metrics.precision_recall_curve(own, column)
        found.append(
            Curves(
                label=classes[number],
                auc=area,
                average_precision=float(metrics.average_precision_score(own, column)),
                share=float(own.mean()),
                roc=_thin(false, true),
                precision_recall=_thin(recall[::-1], precision[::-1]),
            )
        )
    return tuple(found)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """At most about 2 x MOST_POINTS points, evenly along both axes; the ends are always there."""
    if len(x) > 2 * MOST_POINTS:
        steps = np.linspace(0, 1, MOST_POINTS)
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        kept = np.unique(np.searchsorted(length, steps * length[-1]).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return tuple((round(float(a), 5), round(float(b), 5)) for a, b in zip(x, y, strict=True))
