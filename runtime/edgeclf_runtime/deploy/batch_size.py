"""Which batch size gives the most images a second: measured on this engine with all of its streams busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from threading import Barrier
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.deploy.latency import one_input
from edgeclf_runtime.session import Session

T = TypeVar("T")
SIZES = (1, 2, 4, 8, 16)
_ROUNDS, _SECONDS_A_ROUND = 3, 0.05  # sizes take turns: a moment when the machine is busy is not held against one
_NEAR = 0.97  # of the most: a smaller batch is done sooner and takes less memory


def fastest_batch(session: Session, manifest: Manifest) -> int:
    """The smallest of SIZES that comes near the most images a second; less than two seconds for edge classifiers."""
    image = one_input(manifest)
    batches = {size: np.repeat(image, size, axis=0) for size in SIZES}
    with ThreadPoolExecutor(session.streams) as pool:
        for batch in batches.values():
            in_each_thread(pool, session.streams, partial(session, batch))  # compiles for the shape
        rounds = [{size: _images_per_s(session, pool, batches[size]) for size in SIZES} for _ in range(_ROUNDS)]
    found = {size: median(each[size] for each in rounds) for size in SIZES}
    return min(size for size, rate in found.items() if rate >= _NEAR * max(found.values()))


def in_each_thread(pool: ThreadPoolExecutor, threads: int, work: Callable[[], T]) -> list[T]:
    """What `work()` returns in each thread of a pool of so many, none of which begins before all are there.

    An engine may keep a compiled network for each thread (OpenVINO's does). Without this, one thread could take all
    the warm-up, and the others would compile while they are timed.
    """
    all_there = Barrier(threads)

    def once(_: int) -> T:
        all_there.wait()
        return work()

    try:
        return list(pool.map(once, range(threads)))
    except BaseException:  # such as a thread that can't be started: the others must not wait for it
        all_there.abort()
        raise


def _images_per_s(session: Session, pool: ThreadPoolExecutor, batch: NDArray[np.generic]) -> float:
    def infer_for_a_while() -> int:
        calls, end = 0, time.perf_counter() + _SECONDS_A_ROUND
        while not calls or time.perf_counter() < end:
            session(batch)
            calls += 1
        return calls

    start = time.perf_counter()
    calls = sum(in_each_thread(pool, session.streams, infer_for_a_while))
    return calls * len(batch) / (time.perf_counter() - start)
