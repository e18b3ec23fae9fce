"""Timed calls of one stage of a bundle: warm-up until it is stable, the samples, and their summary."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.latency import CALLS, median_call_ms, one_input
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.percentiles import median_interval, percentile_bound
from edgeclf_runtime.session import open_session

Stage = Literal["preprocess", "infer", "end_to_end"]
Call = Callable[[], object]

PERCENTILES = {"p90": 64, "p99": 662}  # shown in tables -> calls that they need, at least
FEWEST_WARM_UP, LONGEST_WARM_UP_S = 10, 10.0
_WINDOW, _SETTLED = 5, 0.02
_SLOWED = 1.05


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Calls before the first timed one, their seconds, and whether two windows of them came to agree within 2 %."""

    calls: int
    seconds: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """One stage of one row at one batch size and number of threads.

    Attributes
    ----------
    stage
        "preprocess": file bytes to the input's pixels; "infer": pixels to logits, host to host; "end_to_end": both.
    rounds_ms
        Every timed call, round by round, in the order taken; nothing is left out.
    started_s
        When each of those calls began, in seconds since the measuring began: the trace.
    p50_interval_ms
        95 %, a bootstrap over rounds, then their samples.
    p90_ms, p95_ms, p99_ms
        None: too few samples for it (64, 130 and 662 are needed). Upper bounds of LoadGen's early stopping.
    outliers
        Samples above the third quartile by more than three interquartile ranges; they count like all others.
    drift
        Median of the last quarter over that of the first; above 1.05: `slowed`.
    """

    stage: Stage
    batch: int
    threads: int
    rounds_ms: tuple[tuple[float, ...], ...]
    started_s: tuple[tuple[float, ...], ...]
    samples: int
    min_ms: float
    p50_ms: float
    p50_interval_ms: Interval | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float
    outliers: int
    drift: float
    slowed: bool
    warm_up: WarmUp | None

    def __post_init__(self) -> None:
        named = (self.min_ms, self.p50_ms, self.p90_ms, self.p95_ms, self.p99_ms, self.max_ms)
        calls = (taken for each in self.rounds_ms for taken in each)
        if min((*(each for each in named if each is not None), *calls)) <= 0:
            raise ValueError(f"a {self.stage!r} call that took no time; a latency is above 0 ms")
        if list(map(len, self.rounds_ms)) != list(map(len, self.started_s)):
            raise ValueError(f"other numbers of {self.stage!r} calls than of moments when they began")


def too_few_calls(rows: Sequence[tuple[str, Latency | None]]) -> str:
    """Which percentiles the calls of which rows are too few for, in a sentence; "": enough for all."""
    timed = [(row, found) for row, found in rows if found is not None]
    parts = []
    for name, needed in PERCENTILES.items():
        lacking = [row for row, found in timed if getattr(found, f"{name}_ms") is None]
        if lacking:
            which = "every row" if len(lacking) == len(timed) else ", ".join(lacking)
            parts.append(f"{name} of {which} ({needed} are needed)")
    return f"too few calls for {' and for '.join(parts)}; more --rounds give more" if parts else ""


def call_ms(call: Call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def warm_up(call: Call, *, longest_s: float = LONGEST_WARM_UP_S) -> tuple[WarmUp, float]:
    """At least ten calls, until the medians of the last two windows differ by less than 2 %; the last median in ms."""
    start, taken = time.perf_counter(), []
    while True:
        taken.append(call_ms(call))
        seconds = time.perf_counter() - start
        if len(taken) < FEWEST_WARM_UP:
            continue
        before, last = statistics.median(taken[-2 * _WINDOW : -_WINDOW]), statistics.median(taken[-_WINDOW:])
        settled = abs(last / before - 1) < _SETTLED
        if settled or seconds > longest_s:
            return WarmUp(len(taken), round(seconds, 3), settled), last


def summarise(
    stage: Stage,
    batch: int,
    threads: int,
    rounds_ms: Sequence[Sequence[float]],
    started_s: Sequence[Sequence[float]],
    warmed: WarmUp | None,
    *,
    seed: int = 0,
) -> Latency:
    """The figures of the timed calls of one stage; there is at least one."""
    samples = [sample for taken in rounds_ms for sample in taken]
    quarter = max(1, len(samples) // 4)
    drift = statistics.median(samples[-quarter:]) / statistics.median(samples[:quarter])
    low, high = np.percentile(samples, [25, 75])
    return Latency(
        stage=stage,
        batch=batch,
        threads=threads,
        rounds_ms=tuple(tuple(taken) for taken in rounds_ms),
        started_s=tuple(tuple(taken) for taken in started_s),
        samples=len(samples),
        min_ms=min(samples),
        p50_ms=statistics.median(samples),
        p50_interval_ms=median_interval(rounds_ms, seed=seed),
        p90_ms=percentile_bound(samples, 0.90),
        p95_ms=percentile_bound(samples, 0.95),
        p99_ms=percentile_bound(samples, 0.99),
        max_ms=max(samples),
        outliers=int(sum(sample > high + 3 * (high - low) for sample in samples)),
        drift=drift,
        slowed=drift > _SLOWED and len(samples) >= 16,
        warm_up=warmed,
    )


def median_latencies_ms(
    bundles: Sequence[Bundle], options: SessionOptions = SessionOptions(threads=1), calls: int = CALLS
) -> tuple[float, ...]:
    """Median milliseconds of one image through each bundle's engine."""
    with ExitStack() as stack:
        runs = [
            partial(stack.enter_context(open_session(bundle, options)), one_input(bundle.manifest))
            for bundle in bundles
        ]
        return median_call_ms(runs, calls)
