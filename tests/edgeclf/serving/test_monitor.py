"""A service counts what it predicts for `edgeclf drift`, and collects images, while it answers as ever."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import VALIDATION, Summary, ValidationCounter, parse_summary

for module in ("starlette", "uvicorn", "httptools", "prometheus_client"):
    pytest.importorskip(module)
Start = Callable[..., Any]


def watched(bundle: Bundle) -> Bundle:
    """The bundle with a summary of 60 validation images."""
    pixels = np.concatenate([tiny.random_pixels(20, seed=seed) for seed in range(3)])
    counter = ValidationCounter(bundle.manifest)
    counter.add(map(image_statistics, pixels), tiny.reference_logits("reference", pixels, 0))
    (bundle.path / VALIDATION).write_bytes(counter.summary().to_bytes())
    seal(bundle.path, bundle.manifest)
    return Bundle.open(bundle.path)


def counted(running: Any) -> Summary:
    return parse_summary(running.send("/summary").body, "/summary")


def test_files_and_tensors_are_counted_in_metrics_and_summary_and_collected(
    bundle: Bundle, start: Start, tmp_path: Path
) -> None:
    opened = watched(bundle)
    running = start(opened, "--collect", str(tmp_path / "kept"), "--threshold", "0.999999")
    for seed in (4, 5, 5):
        label = running.send("/predict", tiny.encoded(tiny.images()[seed], "PNG")).json["prediction"]["label"]
    assert label == "unknown"
    running.infer(tiny.random_pixels(2))
    found = counted(running)
    assert (found.images, found.bundle, found.threshold) == (5, opened.digest, 0.999999)
    assert sum(found.histograms["brightness"].counts) == 5 and sum(found.answers.values()) == 5
    lines = running.send("/metrics").body.decode().splitlines()
    assert f"edgeclf_unknown_total {float(found.unknown)}" in lines
    assert 'edgeclf_brightness_levels_bucket{le="+Inf"} 5.0' in lines
    assert any(line.startswith('edgeclf_answers_total{label="') for line in lines)
    for _ in range(100):  # images are written after the response
        if len(kept := list((tmp_path / "kept").glob("*.json"))) == 2:
            break
        time.sleep(0.1)
    assert [json.loads(each.read_text())["why"] for each in kept] == ["unknown", "unknown"]


def test_a_bundle_without_a_summary_is_served_and_says_what_is_missing(bundle: Bundle, start: Start) -> None:
    running = start(bundle)
    missing = running.send("/summary")
    assert missing.status == 404 and "edgeclf export" in missing.json["error"]
    assert b"edgeclf_answers" not in running.send("/metrics").body
