"""A row against the same row of an older report: latency as a ratio, answers in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_benchmarks.measuring.rows import Row
from edgeclf_benchmarks.measuring.speed import FEWEST_ROUNDS
from edgeclf_benchmarks.measuring.timing import Latency
from edgeclf_benchmarks.statistics.intervals import Interval, Resampling, mean_of, number_groups
from edgeclf_benchmarks.statistics.percentiles import bootstrap_method, resample_medians


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, the 95 % interval of it where there is one, and the value up to which it is noise.

    `rounds` is how many it was timed in; None: it is no time.
    """

    value: float
    interval: Interval | None = None
    floor: float | None = None
    rounds: int | None = None

    @property
    def too_few_rounds(self) -> bool:
        """Whether the interval of a time is too narrow to call a difference one."""
        return self.rounds is not None and self.rounds < FEWEST_ROUNDS


def rounds_of(latency: Latency) -> int:
    """Rounds that have calls: an interruption leaves one empty."""
    return sum(bool(taken) for taken in latency.rounds_ms)


_HARDWARE = ("cpu", "architecture", "cores", "gpu", "jetson")


def same_hardware(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether latencies on two machines may be set in proportion. Versions may differ: a baseline is there for that."""
    return all(one.get(key) == other.get(key) for key in _HARDWARE)


def _floor_at(report: Report) -> float | None:
    """The A/A floor of inference where rows are compared; None: not measured."""
    return report.floor("infer", report.settings.batch_sizes[0], report.settings.threads[0])


def latency_change(now: Entry, before: Entry) -> Figure | None:
    """p50 now over p50 before, of two runs on one machine; None: not measured in both.

    The calls of two runs are no pairs, so both medians are drawn apart; the floor is the larger of both runs.
    """
    mine, other = now.latency(), before.latency()
    if mine is None or other is None:
        return None
    floors = [floor for each in (now, before) if (floor := _floor_at(each.report)) is not None]
    interval = None
    drawn, drawn_before = resample_medians(mine.rounds_ms, seed=1), resample_medians(other.rounds_ms, seed=2)
    if drawn is not None and drawn_before is not None:
        low, high = np.percentile(drawn / drawn_before, [2.5, 97.5])
        interval = Interval(float(low), float(high), bootstrap_method(mine.rounds_ms))
    rounds = min(rounds_of(mine), rounds_of(other))
    return Figure(mine.p50_ms / other.p50_ms, interval, max(floors, default=None), rounds)


def top1_drop(now: Entry, before: Entry) -> Figure | None:
    """Points of top-1 lost since `before` on the same images, with the interval of a paired bootstrap."""
    found = _rightness(now, before)
    if found is None or now.report.data is None:
        return None
    mine, other = found
    lost = 100 * (other.astype(np.float64) - mine)
    groups = number_groups([image.group for image in now.report.data.images])
    resampling = Resampling(len(lost), groups)
    interval = resampling.interval(mean_of(lost))
    return Figure(float(lost.mean()), interval)


def flips(now: Entry, before: Entry) -> Figure | None:
    """Images whose rightness changed since `before`."""
    found = _rightness(now, before)
    return None if found is None else Figure(float((found[0] != found[1]).sum()))


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
