"""Two classifiers on the same images: is one no worse than the other by more than a margin, and are images enough?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.intervals import Interval, Resampling, mean_of
from edgeclf_runtime.metrics.percentiles import binomial_cdf
from edgeclf_runtime.metrics.verdict import Verdict

Z_TWO_SIDED = 1.959963984540054
Z_ONE_SIDED = 1.6448536269514722  # 95 %
TWO_BOUNDS = "90 %: each end is a one-sided 95 % bound"  # what an interval is that joins them
_MOST_IMAGES = 10_000_000
_HALVINGS = 60


def mcnemar_p(right_to_wrong: int, wrong_to_right: int) -> float:
    """Two-sided p of McNemar's exact test: the discordant images are tosses of a fair coin."""
    tosses = right_to_wrong + wrong_to_right
    if not tosses:
        return 1.0
    return min(1.0, 2 * binomial_cdf(min(right_to_wrong, wrong_to_right), tosses, 0.5))


def change_bounds(lost: float, gained: float, images: float, z: float = Z_ONE_SIDED) -> tuple[float, float]:
    """Lower and upper bound of (gained - lost) / images, by Tango's score test (Statistics in Medicine 17, 1998).

    Sound for few images and where nothing changed: no discordant image among 100 is no proof that there is none.
    """
    change = (gained - lost) / images
    return _edge(lost, gained, images, z, -1.0, change), _edge(lost, gained, images, z, 1.0, change)


def change_interval(
    before: NDArray[np.bool_], after: NDArray[np.bool_], groups: NDArray[np.intp] | None = None
) -> Interval:
    """Two-sided 95 % interval, in points, of the change of top-1 between predictions (N,) that were right or not.

    Tango's; with `groups` (N,), a number per group, the bootstrap over groups, or Tango's over groups where all draws
    agree.
    """
    images = len(before)
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    if groups is not None:
        resampling = Resampling(images, groups)
        if (found := resampling.interval(mean_of(100 * (after.astype(np.float64) - before)))) is not None:
            return found
        return _tango(lost, gained, resampling)
    return _tango(lost, gained, Resampling(images))


def unchanged_interval(resampling: Resampling) -> Interval:
    """The same where all draws agree that nothing changed: Tango's for so many images or groups without a change."""
    return _tango(0, 0, resampling)


def _tango(lost: int, gained: int, resampling: Resampling) -> Interval:
    share = resampling.units / resampling.images  # as if a group were one image
    low, high = change_bounds(lost * share, gained * share, resampling.units, Z_TWO_SIDED)
    over = "" if resampling.groups is None else f" over {resampling.units} groups of images"
    return Interval(100 * low, 100 * high, f"Tango{over}")


def _edge(lost: float, gained: float, images: float, z: float, far: float, near: float) -> float:
    """Where between the observed change `near` and the extreme `far` the score statistic reaches z."""
    inside, outside = near, far
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if abs(_score(lost, gained, images, middle)) < z:
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def _score(lost: float, gained: float, images: float, change: float) -> float:
    """Tango's statistic for the hypothesis that the change is `change`; the losses are fitted under it."""
    a, c = 2 * images, -lost * change * (1 - change)
    b = -gained - lost + (2 * images - gained + lost) * change
    fitted = max(0.0, (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a))
    variance = images * (2 * fitted + change * (1 - change))
    distance = gained - lost - images * change
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def change_verdict(lower: float, upper: float, margin: float) -> Verdict:
    """Non-inferiority at 95 %: pass above -margin, fail where even the upper bound is not, else inconclusive."""
    if lower > -margin:
        return "pass"
    return "fail" if upper < -margin else "inconclusive"


def in_points(margin: float) -> str:
    """ "1 point", "0.5 points"."""
    return f"{margin:g} point{'' if margin == 1 else 's'}"


def on_images(images: int) -> str:
    """ "600 images, 1 prediction is 0.17 points": how many were evaluated, and what one of them is worth."""
    return f"{images} images, 1 prediction is {100 / images:.2g} points"


def images_to_settle(lost: int, gained: int, images: int, margin: float, *, spread: float = 1.0) -> int | None:
    """Images, with losses and gains at the rates seen, that would settle the verdict; None: not within ten million.

    `spread` is by how much wider than Tango's the interval is, where images come in groups.
    """

    def settled(count: int) -> bool:
        scale = count / images
        lower, upper = change_bounds(lost * scale, gained * scale, count, Z_ONE_SIDED * spread)
        return change_verdict(lower, upper, margin) != "inconclusive"

    return _first_true(settled, images, _MOST_IMAGES)


def _first_true(settled: Callable[[int], bool], low: int, high: int) -> int | None:
    if not settled(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle + 1, high)
    return low
