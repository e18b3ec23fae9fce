"""Latency of calls side by side: one call of each in turn, so that a drifting machine treats all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Manifest, to_input
from edgeclf_runtime.errors import UsageError

WARM_UP_CALLS = 10
CALLS = 60


def median_call_ms(calls: Sequence[Callable[[], object]], rounds: int = CALLS) -> tuple[float, ...]:
    """Median milliseconds of each call over `rounds`, after rounds to warm up that are not counted."""
    samples: list[list[float]] = [[] for _ in calls]
    for turn in range(WARM_UP_CALLS + rounds):
        for place, call in enumerate(calls):
            start = time.perf_counter_ns()
            call()
            if turn >= WARM_UP_CALLS:
                samples[place].append((time.perf_counter_ns() - start) / 1e6)
    return tuple(statistics.median(taken) for taken in samples)


def one_input(manifest: Manifest) -> NDArray[np.generic]:
    """A batch of one image of noise, or of one empty text's tokens, as the graph takes it.

    Raises UsageError where it takes neither.
    """
    if manifest.task == "embed-text":
        (_, context) = manifest.inputs[0].shape
        return np.zeros((1, int(context)), dtype=np.int32)
    if manifest.pixels is None:
        raise UsageError(f"a bundle for {manifest.task} takes no images")
    image = np.random.default_rng(0).integers(0, 256, (1, *manifest.pixels.crop_px, 3)).astype(np.uint8)
    return to_input(image, manifest.normalization)
