"""Latency of several bundles side by side: one call of each in turn, so that a drifting machine treats all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.manifest import to_input
from edgeclf_runtime.session import open_session

WARM_UP_CALLS = 10


def median_latencies_ms(
    bundles: Sequence[Bundle], options: SessionOptions = SessionOptions(threads=1), calls: int = 60
) -> tuple[float, ...]:
    """Median milliseconds of one picture through each bundle's engine, pixels to logits, decoding not counted."""
    with ExitStack() as stack:
        runs = []
        for bundle in bundles:
            pixels = bundle.manifest.pixels
            if pixels is None:
                raise UsageError(f"{bundle.path} takes no pictures")
            picture = np.random.default_rng(0).integers(0, 256, (1, *pixels.crop_px, 3)).astype(np.uint8)
            session = stack.enter_context(open_session(bundle, options))
            runs.append((session, to_input(picture, bundle.manifest.normalization)))
        samples: list[list[float]] = [[] for _ in runs]
        for turn in range(WARM_UP_CALLS + calls):
            for place, (session, batch) in enumerate(runs):
                start = time.perf_counter_ns()
                session(batch)
                if turn >= WARM_UP_CALLS:
                    samples[place].append((time.perf_counter_ns() - start) / 1e6)
        return tuple(statistics.median(taken) for taken in samples)
