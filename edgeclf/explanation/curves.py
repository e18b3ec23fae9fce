"""Is a map right? Deletion and insertion: the score as its most important pixels vanish or appear, part after part.

A map earns trust by comparison: that of a centre prior, which knows nothing of the image but that things lie in its
middle, is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf.explanation.rise import Map, Scorer, blended, mean_colour, scores_at

STEPS = 20  # parts of the pixels; a curve has a point more


@dataclass(frozen=True, slots=True)
class Curves:
    """The score with 0, 1/20, … of the pixels hidden (deletion) or visible (insertion), the most important first.

    Areas lie within the scores' own range. A good map has a small area under deletion and a large one under insertion.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def deletion_auc(self) -> float:
        return _area(self.deletion)

    @property
    def insertion_auc(self) -> float:
        return _area(self.insertion)


def curves_of(
    score: Scorer,
    pixels: NDArray[np.uint8],
    found: Map,
    label: int,
    batch_size: int,
    advance: Callable[[int], None] = lambda images: None,
) -> Curves:
    """The curves of the (H, W) map `found` for the class number `label`."""
    height, width = found.shape
    rank = np.empty(height * width, dtype=np.int64)
    rank[np.argsort(-found, axis=None, kind="stable")] = np.arange(height * width)
    ends = np.linspace(0, height * width, STEPS + 1).round()
    hidden = mean_colour(pixels)

    def run(visible: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> tuple[float, ...]:
        values: list[float] = []
        for start in range(0, len(ends), batch_size):
            part = ends[start : start + batch_size, np.newaxis]
            masks = visible(part).reshape(-1, height, width).astype(np.float32)
            values += scores_at(score, blended(pixels, hidden, masks), (label,))[:, 0].tolist()
            advance(len(masks))
        return tuple(values)

    return Curves(run(lambda end: rank >= end), run(lambda end: rank < end))


def centre_prior(height: int, width: int) -> Map:
    """(H, W) a map that is high in the middle and falls towards the edges, whatever the image."""
    y, x = (np.linspace(-1, 1, side)[:, np.newaxis] for side in (height, width))
    return np.asarray(-(y**2 + x.T**2))


def _area(values: tuple[float, ...]) -> float:
    inner = np.asarray(values)
    return float((inner[1:] + inner[:-1]).sum() / 2 / (len(inner) - 1))
