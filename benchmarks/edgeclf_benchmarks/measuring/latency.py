"""Latency of several bundles side by side: pixels to logits, decoding not counted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.latency import CALLS, median_call_ms, one_input
from edgeclf_runtime.session import open_session


def median_latencies_ms(
    bundles: Sequence[Bundle], options: SessionOptions = SessionOptions(threads=1), calls: int = CALLS
) -> tuple[float, ...]:
    """Median milliseconds of one picture through each bundle's engine."""
    with ExitStack() as stack:
        runs = [
            partial(stack.enter_context(open_session(bundle, options)), one_input(bundle.manifest))
            for bundle in bundles
        ]
        return median_call_ms(runs, calls)
