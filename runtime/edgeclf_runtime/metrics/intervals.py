"""How sure a figure is: Wilson's interval for a share, and the bootstrap over images or over groups of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_Z95 = 1.959963984540054
_BLOCK_NUMBERS = 4_000_000
_KEPT_NUMBERS = 1_000_000  # 8 MB: so few draws are made once for all figures of a report, which share them

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Interval:
    """95 % of confidence. `method` describes how it was computed, for people."""

    low: float
    high: float
    method: str


def wilson(right: float, images: float) -> Interval:
    """Interval of the share `right` / `images` (Wilson, JASA 22, 1927): sound for few images, and near 0 and 1."""
    if images <= 0:
        return Interval(0.0, 1.0, "Wilson")
    share, z2 = right / images, _Z95**2
    middle = (share + z2 / (2 * images)) / (1 + z2 / images)
    half = _Z95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2)) / (1 + z2 / images)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), "Wilson")


@dataclass(frozen=True, slots=True)
class Resampling:
    """A plan for the percentile bootstrap (Efron, 1979) of `images` images; `groups` (N,) holds a number per group.

    With groups, whole groups are drawn: images of one patient or one film are not independent.
    """

    images: int
    groups: NDArray[np.intp] | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def units(self) -> int:
        """What is drawn: images, or groups."""
        return self.images if self.groups is None else int(self.groups.max()) + 1

    @property
    def method(self) -> str:
        drawn = f"{self.images} images" if self.groups is None else f"{self.units} groups of images"
        return f"bootstrap, {self.resamples} draws of {drawn}"

    def weights(self) -> Iterator[NDArray[np.float64]]:
        """Blocks (B, N): how often each image is in each draw; they can't be written to."""
        for counts in self._counts():
            yield counts if self.groups is None else counts[:, self.groups]

    def _counts(self) -> Iterator[NDArray[np.float64]]:
        """Blocks (B, units)."""
        if self.resamples * self.images <= _KEPT_NUMBERS:
            yield _kept_counts(self.units, self.resamples, self.seed)
            return
        random = np.random.default_rng(self.seed)
        block = max(1, _BLOCK_NUMBERS // max(self.images, 1))
        for start in range(0, self.resamples, block):
            yield _draw(random, self.units, min(block, self.resamples - start))

    def draws(self, statistic: Statistic) -> NDArray[np.float64]:
        """(resamples,) what `statistic`, a function of weights (B, N) -> (B,), comes to in each draw."""
        return np.concatenate([statistic(weights) for weights in self.weights()])

    def interval(self, statistic: Statistic) -> Interval | None:
        """The interval of `statistic`, over all draws.

        None for fewer than two units, and where every draw gives the same: that certainty would be false.
        """
        return self._interval(self.draws(statistic)) if self.units >= 2 else None

    def interval_around(self, figure: float | None, statistic: Statistic) -> Interval | None:
        """The interval of a share (0 to 1) that is no mean, such as an average precision; None where `figure` is.

        `figure`: the share of the images as they are. A draw holds images twice, which moves such a share: of 60 labels
        on 20 images, nearly all draws may lie above the figure. They are moved back, so that their median is the
        figure. For mAP on 200 images the intervals then hold the value of 40,000 in 93 % of 40 trials, in place of
        80 %; on 30 images in 33 %, in place of 5 %.
        """
        if figure is None or self.units < 2:
            return None
        return self._interval(np.clip(centred(self.draws(statistic), figure), 0.0, 1.0))

    def _interval(self, values: NDArray[np.float64]) -> Interval | None:
        if np.nanmin(values) == np.nanmax(values):
            return None
        low, high = np.nanpercentile(values, [2.5, 97.5])
        return Interval(float(low), float(high), self.method)


def centred(draws: NDArray[np.float64], figure: float) -> NDArray[np.float64]:
    """The draws of a figure, moved so that it is their median."""
    return draws - np.nanmedian(draws) + figure


def _draw(random: np.random.Generator, units: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, units) how often each unit is in each draw."""
    counts = random.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)
    counts.flags.writeable = False
    return counts


@lru_cache(maxsize=2)
def _kept_counts(units: int, resamples: int, seed: int) -> NDArray[np.float64]:
    return _draw(np.random.default_rng(seed), units, resamples)


def mean_of(values: NDArray[Any]) -> Statistic:
    """The mean of (N,) values, as a statistic."""
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def number_groups(groups: Sequence[str | None] | None) -> NDArray[np.intp] | None:
    """(N,) a number per group; images without one are groups of their own. None where no image has a group."""
    if groups is None or all(group is None for group in groups):
        return None
    known: dict[str | int, int] = {}
    keys = ((position if group is None else group) for position, group in enumerate(groups))
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.intp)


def accuracy_interval(right: NDArray[np.bool_], resampling: Resampling) -> Interval | None:
    """Wilson's; with groups the bootstrap, or Wilson's over groups where all or none are right."""
    if resampling.groups is None:
        return wilson(float(right.sum()), len(right))
    if right.all() or not right.any():
        found = wilson(resampling.units * float(right.all()), resampling.units)
        return Interval(found.low, found.high, f"Wilson over {resampling.units} groups of images")
    return resampling.interval(mean_of(right))
