"""A row against the same row of an older report on the same images: predictions in pairs. And what a gate looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.measuring.rows import Row
from edgeclf_benchmarks.measuring.speed import FEWEST_ROUNDS
from edgeclf_benchmarks.statistics.intervals import Interval, Resampling, number_groups
from edgeclf_benchmarks.statistics.paired import TWO_BOUNDS, change_bounds
from edgeclf_benchmarks.statistics.parity import Parity, bounds_of_change
from edgeclf_benchmarks.statistics.rounding import significant


@dataclass(frozen=True, slots=True)
class Figure:
    """What a gate looks at: a number, and what is known of how sure it is.

    Attributes
    ----------
    interval
        95 %, where there is one.
    noise
        Of a ratio: up to which it is A/A noise (above 1).
    rounds
        In how many it was timed; None: it is no time.
    images
        On how many it was evaluated; None: on none.
    how
        By which way it was found, where there are several.
    undecidable
        Why no verdict may be based on it; "": one may.
    remark
        What else to print of it.
    """

    value: float
    interval: Interval | None = None
    noise: float | None = None
    rounds: int | None = None
    images: int | None = None
    how: str = ""
    undecidable: str = ""
    remark: str = ""

    @property
    def too_few_rounds(self) -> bool:
        """Whether the interval of a time is too narrow to call a difference one."""
        return self.rounds is not None and self.rounds < FEWEST_ROUNDS

    @property
    def spelled(self) -> str:
        """ "1.148 [1.121, 1.173]", without its unit."""
        ends = () if self.interval is None else (self.interval.low, self.interval.high)
        bounds = f" [{', '.join(significant(end, 4) for end in ends)}]" if ends else ""
        return f"{significant(self.value, 4)}{bounds}"


def top1_drop(now: Entry, before: Entry) -> Figure | None:
    """Points of top-1 lost since `before` on the same images, with both one-sided 95 % bounds."""
    found = _rightness(now, before)
    if found is None or now.report.data is None:
        return None
    mine, other = found
    groups = number_groups([image.group for image in now.report.data.images])
    lower, upper, _ = bounds_of_change(mine, other, Resampling(len(mine), groups))
    lost = 100 * (float(other.mean()) - float(mine.mean()))
    return Figure(lost, Interval(0 - 100 * upper, 0 - 100 * lower, TWO_BOUNDS), images=len(mine))


def parity_drop(parity: Parity) -> Interval:
    """Both one-sided 95 % bounds of the points of top-1 lost, as the verdict on parity has them."""
    lower, upper = parity.lower_bound_points, parity.upper_bound_points
    if upper is None:  # a report of an earlier version
        _, upper = (100 * each for each in change_bounds(parity.right_to_wrong, parity.wrong_to_right, parity.images))
    return Interval(0 - upper, 0 - lower, TWO_BOUNDS)


def flips(now: Entry, before: Entry) -> Figure | None:
    """Images whose rightness changed since `before`."""
    found = _rightness(now, before)
    return None if found is None else Figure(float((found[0] != found[1]).sum()), images=len(found[0]))


def _rightness(now: Entry, before: Entry) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """(N,) and (N,) which of the same images are answered rightly; None where one report has no answers."""
    data = now.report.data
    if data is None or before.report.data is None:
        return None
    numbers = np.array([image.number for image in data.images], dtype=np.intp)
    mine, other = _numbers(now.row), _numbers(before.row)
    return None if mine is None or other is None else (mine == numbers, other == numbers)


def _numbers(row: Row) -> NDArray[np.intp] | None:
    return None if row.answers is None else np.array(row.answers.numbers, dtype=np.intp)
