"""A row's latency against the same row of an older report, in proportion to the yardstick.

The calls of two runs are not paired: between them the machine may have become hotter, busier or another, and a virtual
machine changes its speed by itself. The yardstick, which both reports timed beside their rows, shows by how much; where
it changed too much, or other processes were busy, the change holds the reason instead of a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.measuring.machine_state import BUSY_SHARE, Conditions
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_benchmarks.measuring.speed import Speed, log_ratios, speed_of
from edgeclf_benchmarks.measuring.timing import Latency
from edgeclf_benchmarks.measuring.yardstick import NUMPY, Yardstick
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.percentiles import bootstrap_method, resample_medians

MOST_MOVED = 1.5  # the yardstick may be so much slower or faster; beyond it the machine is not comparable
BETWEEN_RUNS = (
    1.08  # two runs of a bundle on a quiet machine can differ by it (benchmarks/results/gates_quiet_rule.json)
)
_HARDWARE = ("cpu", "architecture", "cores", "gpu", "jetson")


@dataclass(frozen=True, slots=True)
class Times:
    """A ratio of times, its 95 % interval, in how many rounds it was taken, and up to which it is A/A noise."""

    value: float
    interval: Interval | None
    rounds: int
    noise: float

    @property
    def speed(self) -> Speed:
        """ "slower" or "faster" by the rule of every comparison; nothing is shown without an interval."""
        if self.interval is None:
            return "no difference shown"
        return speed_of(self.value, self.interval, self.rounds, self.noise)


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """The change of a row's p50 since the baseline.

    Attributes
    ----------
    clock
        p50 now over p50 before.
    yardstick
        Which one both runs have in common: "onnx", …, "numpy"; "": none.
    proportion
        (p50 over the yardstick's, round by round) now over the same before; None without a yardstick.
    machine
        The yardstick's own time now over before.
    incomparable
        Why the two may not be compared; "": they may.
    """

    clock: Times
    yardstick: str
    proportion: Times | None
    machine: float | None
    incomparable: str

    @property
    def speed(self) -> Speed | Literal["inconclusive"]:
        """By the yardstick; by the clock where the reports have none in common."""
        if self.incomparable:
            return "inconclusive"
        return (self.proportion or self.clock).speed


def same_hardware(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether latencies on two machines may be set in proportion. Versions may differ: a baseline is there for that."""
    return all(one.get(key) == other.get(key) for key in _HARDWARE)


def rounds_of(latency: Latency) -> int:
    """Rounds that have calls: an interruption can leave one empty."""
    return sum(bool(taken) for taken in latency.rounds_ms)


def latency_change(now: Entry, before: Entry) -> LatencyChange | None:
    """How p50 of inference changed between two runs; None: not measured in both."""
    mine, other = now.latency(), before.latency()
    if mine is None or other is None:
        return None
    measured = [noise for each in (now, before) if (noise := _aa_noise_of(each.report)) is not None]
    noise = max([*measured, BETWEEN_RUNS])
    rounds = min(rounds_of(mine), rounds_of(other))
    clock = Times(mine.p50_ms / other.p50_ms, _clock_interval(mine, other), rounds, noise)
    both = _common_yardstick(now, before)
    proportion = None if both is None else _in_proportion(mine, other, *both, noise)
    machine = None if both is None else both[0].latency.p50_ms / both[1].latency.p50_ms
    why = next(_obstacles(now.report, before.report, both), "")
    return LatencyChange(clock, "" if both is None else both[0].target, proportion, machine, why)


def _aa_noise_of(report: Report) -> float | None:
    """The A/A noise of inference where rows are compared; None: not measured."""
    return report.aa_noise("infer", report.settings.batch_sizes[0], report.settings.threads[0])


def _clock_interval(mine: Latency, other: Latency) -> Interval | None:
    """The calls of two runs are no pairs, so both medians are drawn apart."""
    drawn, drawn_before = resample_medians(mine.rounds_ms, seed=1), resample_medians(other.rounds_ms, seed=2)
    return None if drawn is None or drawn_before is None else _interval(drawn / drawn_before, mine)


def _interval(drawn: NDArray[np.float64], latency: Latency) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(low), float(high), bootstrap_method(latency.rounds_ms))


def _in_proportion(mine: Latency, other: Latency, now: Yardstick, before: Yardstick, noise: float) -> Times | None:
    """Pairs of a row's and the yardstick's calls are of one round and see one machine; None: too few rounds."""
    pairs = [
        [each for each in log_ratios(row.rounds_ms, stick.latency.rounds_ms) if each]
        for row, stick in ((mine, now), (other, before))
    ]
    drawn, drawn_before = (resample_medians(each, seed=seed) for seed, each in enumerate(pairs, 1))
    if drawn is None or drawn_before is None:
        return None
    level, level_before = (float(np.median([np.median(taken) for taken in each])) for each in pairs)
    interval = _interval(np.exp(drawn - drawn_before), mine)
    return Times(float(np.exp(level - level_before)), interval, min(map(len, pairs)), noise)


def _common_yardstick(now: Entry, before: Entry) -> tuple[Yardstick, Yardstick] | None:
    """That of the row's engine where its version is the same: else a slower engine would look like a slower machine."""
    for target in (now.row.target, NUMPY):
        for mine, other in _common_yardsticks(now.report, before.report):
            if mine.target == target:
                return mine, other
    return None


def _common_yardsticks(now: Report, before: Report) -> Iterator[tuple[Yardstick, Yardstick]]:
    known = {(each.target, each.engine, each.version): each for each in before.yardsticks}
    for mine in now.yardsticks:
        if (other := known.get((mine.target, mine.engine, mine.version))) is not None:
            yield mine, other


def _obstacles(now: Report, before: Report, both: tuple[Yardstick, Yardstick] | None) -> Iterator[str]:
    """Why the latencies of two reports may not be compared, the plainest reason first."""
    if not same_hardware(now.machine, before.machine):
        yield f"another machine ({_named(now)}; the baseline: {_named(before)})"
    yield from _other_settings(now, before)
    for report, which in ((now, "during this run"), (before, "during the baseline's")):
        busy, cores = busy_cores(report), report.before.cores
        if busy is not None and busy > BUSY_SHARE * cores:
            yield f"other processes kept {busy:.1f} of {cores} cores busy {which}; measure on a quiet machine"
        elif busy is None and both is None:
            yield f"the reports have no yardstick in common, and how busy the machine was is not known {which}"
    for mine, other in _common_yardsticks(now, before):
        moved = mine.latency.p50_ms / other.latency.p50_ms
        if not 1 / MOST_MOVED <= moved <= MOST_MOVED:
            times, word = (moved, "slower") if moved > 1 else (1 / moved, "faster")
            yield f"the machine was {times:.2f} times {word} than for the baseline (yardstick {mine.target})"


def _named(report: Report) -> str:
    return report.machine.get("jetson") or report.machine.get("cpu") or report.machine_id


def _other_settings(now: Report, before: Report) -> Iterator[str]:
    mine, other = now.settings, before.settings
    for what, here, there in (
        ("batch size", mine.batch_sizes[0], other.batch_sizes[0]),
        ("threads", mine.threads[0], other.threads[0]),
        ("device", mine.device, other.device),
        ("hint", mine.hint, other.hint),
        ("compute precision", mine.compute_precision or "the bundle's", other.compute_precision or "the bundle's"),
    ):
        if here != there:
            yield f"other settings: {what} {here}, in the baseline {there}"


def busy_cores(report: Report) -> float | None:
    """Cores that others kept busy, mean of the rounds; in older reports the larger of two samples. None: not known."""
    if report.rounds_busy_cores:
        return sum(report.rounds_busy_cores) / len(report.rounds_busy_cores)
    samples: tuple[Conditions, ...] = (report.before, report.after)
    seen = [each.busy_cores for each in samples]
    return None if None in seen else max(each for each in seen if each is not None)
