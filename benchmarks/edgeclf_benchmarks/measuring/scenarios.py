"""LoadGen's patterns: one query after the other, eight images a query, everything at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from edgeclf_benchmarks.measuring.contenders import Contender, Opened
from edgeclf_benchmarks.measuring.timing import FEWEST_WARM_UP, call_ms
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.images.threads import in_each_thread
from edgeclf_runtime.metrics.percentiles import percentile_bound

ScenarioName = Literal["single-stream", "multi-stream", "offline"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row under one of MLPerf LoadGen's patterns, pixels to logits.

    Attributes
    ----------
    latency_ms
        single-stream: the 90th percentile of a query of one image; multi-stream: the 99th of one of eight images;
        offline: None.
    images_per_s
        All images over all seconds.
    by_the_rules
        Whether it ran as long, and with as many queries, as MLPerf Inference requires; `note` lists what was missing.
    """

    name: ScenarioName
    batch: int
    threads: int
    queries: int
    images: int
    seconds: float
    latency_ms: float | None
    images_per_s: float
    by_the_rules: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What MLPerf Inference requires of a scenario: images a query, percentile, fewest queries and images, seconds."""

    name: ScenarioName
    batch: int
    percentile: float | None
    fewest_queries: int
    fewest_images: int


# MLPerf Inference rules, edge: early stopping's smallest counts for p90 and p99; Offline's 24,576 samples; 600 s each.
RULES = {
    "single-stream": Pattern("single-stream", 1, 0.90, 64, 64),
    "multi-stream": Pattern("multi-stream", 8, 0.99, 662, 8 * 662),
    "offline": Pattern("offline", 16, None, 1, 24_576),
}
RULED_S = 600.0


def run_scenario(
    contender: Contender,
    pattern: Pattern,
    files: Sequence[bytes],
    options: SessionOptions,
    *,
    seconds: float,
    whole: bool = False,
    around: AbstractContextManager[object] = nullcontext(),
) -> Scenario:
    """One scenario for `seconds`; `whole`: as many queries and images as the rules require, however long that takes.

    The offline scenario gets a session that is tuned for throughput, and a caller for each of its streams. `around` is
    open while queries are timed, not while the session opens and warms up.
    """
    batch = min(pattern.batch, contender.largest_batch or pattern.batch)
    with closing(
        contender.open(replace(options, hint="throughput") if pattern.name == "offline" else options)
    ) as opened:
        prepared = _inputs(opened, files, batch)
        taken: list[float] = []
        interrupted = threading.Event()

        def warm_up() -> None:
            for number in range(FEWEST_WARM_UP):
                opened.infer(prepared[number % len(prepared)])

        def call_until_done() -> None:
            while not interrupted.is_set():
                taken.append(call_ms(partial(opened.infer, prepared[len(taken) % len(prepared)])))
                enough = len(taken) >= pattern.fewest_queries and len(taken) * batch >= pattern.fewest_images
                if time.perf_counter() - start >= seconds and (enough or not whole):
                    return

        with ThreadPoolExecutor(opened.streams) as callers:
            in_each_thread(callers, opened.streams, warm_up)
            with around:
                start = time.perf_counter()
                try:
                    in_each_thread(callers, opened.streams, call_until_done)
                finally:
                    interrupted.set()
                spent = time.perf_counter() - start
    return sum_up(pattern, batch, options.thread_count, taken, spent)


def _inputs(opened: Opened, files: Sequence[bytes], batch: int) -> list[object]:
    count = max(1, min(len(files), 32 // batch))
    return [opened.prepare([files[(i * batch + j) % len(files)] for j in range(batch)]) for i in range(count)]


def sum_up(pattern: Pattern, batch: int, threads: int, taken: Sequence[float], seconds: float) -> Scenario:
    """The scenario that the times of its queries (ms) make, and what the rules require beyond it."""
    images = len(taken) * batch
    lacking = []
    if seconds < RULED_S:
        lacking.append(f"{seconds:.0f} s of {RULED_S:.0f} s")
    if images < pattern.fewest_images:
        lacking.append(f"{images} images of {pattern.fewest_images}")
    if len(taken) < pattern.fewest_queries:
        lacking.append(f"{len(taken)} queries of {pattern.fewest_queries}")
    if batch != pattern.batch:
        lacking.append(f"{batch} images a query instead of {pattern.batch}")
    return Scenario(
        name=pattern.name,
        batch=batch,
        threads=threads,
        queries=len(taken),
        images=images,
        seconds=seconds,
        latency_ms=None if pattern.percentile is None else percentile_bound(taken, pattern.percentile),
        images_per_s=images / seconds,
        by_the_rules=not lacking,
        note=", ".join(lacking),
    )
