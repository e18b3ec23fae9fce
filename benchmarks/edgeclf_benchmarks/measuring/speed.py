"""Which of two is faster: log ratios of interleaved pairs, beyond the A/A noise of one bundle against itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeclf_benchmarks.measuring.timing import Stage
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.percentiles import bootstrap_method, resample_medians
from edgeclf_runtime.metrics.rounding import significant

FEWEST_ROUNDS = 5  # with fewer the bootstrap's interval is too narrow to call a difference one
Speed = Literal["faster", "slower", "no difference shown"]


@dataclass(frozen=True, slots=True)
class SameAgainstSame:
    """One bundle against itself, in the same rounds: what this machine shows where there is no difference.

    `floor` is the A/A noise, the ratio (above 1) beyond which a difference counts: the farther end of the interval
    of the A/A ratio.
    """

    row: str
    stage: Stage
    batch: int
    threads: int
    ratio: float
    interval: Interval
    floor: float
    round_ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_ratios(self.ratio, self.interval, self.floor)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Latency of `row` over that of `base`: the median over rounds of the median log ratio of a round's pairs.

    `interval` is a bootstrap over rounds, then pairs (95 %). "faster" and "slower" need an interval without 1
    and a ratio beyond the `floor`, the A/A noise of the same run.
    """

    row: str
    base: str
    stage: Stage
    batch: int
    threads: int
    ratio: float
    interval: Interval
    floor: float
    verdict: Speed
    round_ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_ratios(self.ratio, self.interval, self.floor)

    @property
    def in_words(self) -> str:
        """ "37 x faster [35, 40]"; where no difference is shown, the share of the other's time."""
        low, high = self.interval.low, self.interval.high
        if self.verdict == "faster":
            return f"{significant(1 / self.ratio)} x faster [{significant(1 / high)}, {significant(1 / low)}]"
        bounds = f"[{significant(low)}, {significant(high)}]"
        if self.verdict == "slower":
            return f"{significant(self.ratio)} x slower {bounds}"
        return f"no difference shown: {significant(self.ratio)} x the time {bounds}"


def _check_ratios(ratio: float, interval: Interval, floor: float) -> None:
    if min(ratio, interval.low, interval.high, floor) <= 0:
        raise ValueError("a ratio of times that is not above 0")


Rounds = Sequence[Sequence[float]]


def log_ratios(row: Rounds, base: Rounds) -> list[list[float]]:
    """The logarithm of row / base for each pair of calls, round by round; a call without a partner is left out."""
    return [
        [math.log(mine / other) for mine, other in zip(own, others, strict=False)]
        for own, others in zip(row, base, strict=False)
    ]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median over rounds of the median ratio of a round's pairs, its 95 % interval, and each round's own."""

    value: float
    interval: Interval
    by_round: tuple[float, ...]


def ratio_of(row: Rounds, base: Rounds, *, seed: int = 0) -> Ratio | None:
    """Times of `row` over those of `base`, taken in pairs; None with fewer than two rounds."""
    pairs = [each for each in log_ratios(row, base) if each]
    drawn = resample_medians(pairs, seed=seed)
    if drawn is None:
        return None
    medians = [float(np.median(each)) for each in pairs]
    low, high = np.percentile(drawn, [2.5, 97.5])
    interval = Interval(math.exp(low), math.exp(high), bootstrap_method(pairs))
    return Ratio(math.exp(float(np.median(medians))), interval, tuple(math.exp(each) for each in medians))


def noise_of(same: Ratio) -> float:
    """The A/A noise: the ratio, above 1, that one bundle may show against itself, the farther end of its interval."""
    return max(same.interval.high, 1 / same.interval.low)


def speed_of(ratio: float, interval: Interval, rounds: int, noise: float, limit: float = 1.0) -> Speed:
    """ "faster" or "slower" with enough rounds, where the interval leaves out 1 and the ratio is beyond A/A noise.

    With another `limit` than 1 the ratio is compared with that, by the same rule.
    """
    if rounds < FEWEST_ROUNDS:
        return "no difference shown"
    if interval.high < limit and ratio < limit / noise:
        return "faster"
    if interval.low > limit and ratio > limit * noise:
        return "slower"
    return "no difference shown"
