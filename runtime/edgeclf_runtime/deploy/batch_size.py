"""Which batch size gives the most images a second: measured on this engine with all of its streams busy."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.deploy.latency import one_input
from edgeclf_runtime.session import Session

SIZES = (1, 2, 4, 8, 16)
_SECONDS_A_SIZE = 0.15
_NEAR = 0.97  # of the most: a smaller batch is done sooner and takes less memory


def fastest_batch(session: Session, manifest: Manifest) -> int:
    """The smallest of SIZES that comes near the most images a second; less than two seconds for edge classifiers."""
    found = {size: _images_per_s(session, manifest, size) for size in SIZES}
    return min(size for size, rate in found.items() if rate >= _NEAR * max(found.values()))


def _images_per_s(session: Session, manifest: Manifest, size: int) -> float:
    batch = np.repeat(one_input(manifest), size, axis=0)

    def infer_for_a_while(seconds: float) -> int:
        calls, end = 0, time.perf_counter() + seconds
        while not calls or time.perf_counter() < end:
            session(batch)
            calls += 1
        return calls

    with ThreadPoolExecutor(session.streams) as pool:
        list(pool.map(infer_for_a_while, [0.0] * session.streams))  # compiles for the shape, and wakes threads
        start = time.perf_counter()
        calls = sum(pool.map(infer_for_a_while, [_SECONDS_A_SIZE] * session.streams))
        return calls * size / (time.perf_counter() - start)
