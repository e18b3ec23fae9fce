"""Timed calls of one stage of a bundle: warm-up until it is stable, the samples, and what they sum up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeclf_benchmarks.intervals import Interval

Stage = Literal["preprocess", "infer", "end_to_end"]


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
        95 %, from order statistics.
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
