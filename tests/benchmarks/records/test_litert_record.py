"""The table of docs/litert.md is the record's, and shows what was refused or never measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.litert import PRECISIONS, TARGETS, table


def test_the_page_shows_the_record(root: Path) -> None:
    figures = json.loads((root / "benchmarks/results/litert.json").read_bytes())["figures"]
    assert "\n".join(table(figures)) in (root / "docs/litert.md").read_text()


def test_a_refused_bundle_is_shown_with_its_time_or_without() -> None:
    each: dict[str, Any] = {"export_cpu_s": 20.4, "ratio": 1.0, "model_mb": 6.1, "max_logit_difference_of_range": 1e-6}
    bundles = {f"{target} {precision}": dict(each) for target in TARGETS for precision in PRECISIONS}
    bundles["litert fp32"]["engine"] = {"delegate": "XNNPACK, in 1 of 2 steps, beside it CAST"}
    bundles["openvino int8"] = {"export_cpu_s": 30.0, "refused": "logits differ"}
    bundles["litert int8"] |= {"refused": "logits differ", "ratio": 0.5}
    _, _, fp32, int8 = table({"net": {"img_size_px": 96, "weights": "random", "bundles": bundles}})
    engine = "1.00 x, 6.1 MB, 1e-06"
    assert fp32.startswith(f"| net, 96 px, random weights | fp32 | {engine} | {engine} | {engine} | 1 of 2 steps, ")
    assert int8 == f"|  | int8 | {engine} | refused | 0.50 x, 6.1 MB, 1e-06, refused | – | 20, 30, 20 |"
