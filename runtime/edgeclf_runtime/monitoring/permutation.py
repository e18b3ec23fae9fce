"""How two samples of counts differ: by size (population stability index), and by chance (permutations)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_DRAWS, _FIRST_DRAWS, _NO_DOUBT, _AT_A_TIME = 19_999, 999, 0.05, 1 << 21


def population_stability(before: Counts, now: Counts) -> NDArray[np.float64]:
    """(…, bins) counts of two samples -> (…) PSI, with half an image added to each bin."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True) for counts in (before, now))
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def residuals(before: Counts, now: Counts, images: tuple[int, int]) -> NDArray[np.float64]:
    """(…, bins) counts -> how many standard errors each count of `now` lies from what both samples together expect.

    `images`: of both samples.
    """
    both, share = before + now, images[1] / sum(images)
    variance = both * share * (1 - share) * (1 - both / sum(images))
    return np.asarray((now - both * share) / np.sqrt(np.maximum(variance, 1e-12)))


def drawn_by_chance(
    found: float,
    statistic: Callable[[Counts, Counts], NDArray[np.float64]],
    before: Counts,
    now: Counts,
    random: np.random.Generator,
    deal: Callable[[int], Counts] | None = None,
) -> NDArray[np.float64]:
    """The statistic of both samples' images, dealt out again by chance to two samples of their sizes, many times.

    Where the first thousand leave no doubt that chance alone makes one as large as `found`, they are enough. `deal`:
    (draws) -> (draws, bins) counts of the second sample; None: each image is in one bin.
    """
    both, images = before + now, int(now.sum())
    drawn: list[NDArray[np.float64]] = []
    done = 0
    while done < _DRAWS:
        number = min(max(1, _AT_A_TIME // len(both)), _DRAWS - done) if done else _FIRST_DRAWS
        dealt = deal(number) if deal else random.multivariate_hypergeometric(both, images, number, method="marginals")
        drawn.append(statistic(both - dealt, dealt))
        done += number
        if done == _FIRST_DRAWS and share_as_large(drawn[0], found) > _NO_DOUBT:
            break
    return np.concatenate(drawn)


def share_as_large(drawn: NDArray[np.float64], found: float) -> float:
    return float((1 + (drawn >= found - 1e-12).sum()) / (1 + len(drawn)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for there being several (Holm, 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected
