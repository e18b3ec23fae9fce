"""Which of two is faster: log ratios of interleaved pairs, against what one bundle shows against itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeclf_benchmarks.intervals import Interval
from edgeclf_benchmarks.timing import Stage

Speed = Literal["faster", "slower", "no difference shown"]


@dataclass(frozen=True, slots=True)
class SameAgainstSame:
    """One bundle against itself, in the same rounds: what this machine shows where there is no difference.

    `floor` is the ratio (above 1) beyond which a difference counts: the farther end of the interval of the A/A ratio.
    """

    row: str
    stage: Stage
    batch: int
    threads: int
    ratio: float
    interval: Interval
    floor: float
    round_ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Latency of `row` over that of `base`: the median over rounds of the median log ratio of a round's pairs.

    `interval` is a bootstrap over rounds, then pairs (95 %). "faster" and "slower" are said only where it leaves out 1
    and the ratio lies beyond the `floor` of the same run.
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
