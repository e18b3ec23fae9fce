"""Bundles are timed in turn, equally often, and only those that take images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from edgeclf_benchmarks.measuring.timing import median_latencies_ms
from edgeclf_runtime.deploy import latency
from edgeclf_runtime.errors import UsageError


def test_every_bundle_gets_its_median_in_the_order_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = [tiny.build(tmp_path / name, "reference") for name in ("a", "b")]
    clock = iter(range(0, 10**9, 1_000_000))  # every reading of the clock is a millisecond later
    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: next(clock))
    assert median_latencies_ms(bundles, calls=3) == (1.0, 1.0)


def test_a_bundle_that_takes_no_images_is_refused(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "a", "reference")
    bundle.manifest = replace(bundle.manifest, pixels=None)
    with pytest.raises(UsageError, match="takes no images"):
        median_latencies_ms([bundle])
