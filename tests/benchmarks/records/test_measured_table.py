"""The table of latencies in docs/measured.md is generated from the record, not written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeclf_benchmarks.records.measured_table import BEGIN, END, PAGE, RECORD, with_table


def _row(target: str, kind: str, infer: float) -> dict[str, Any]:
    def latency(stage: str, threads: int, p50: float) -> dict[str, Any]:
        bounds = None if kind == "plain-loop" else [p50 - 0.1, p50 + 0.1]
        return {"stage": stage, "threads": threads, "batch": 1, "p50_ms": p50, "p50_interval_ms": bounds}

    found = [latency("infer", 1, infer), latency("end_to_end", 1, infer + 2), latency("infer", 2, infer / 2)]
    return {"target": target, "kind": kind, "input_px": [224, 192], "latency": found}


def _record() -> dict[str, Any]:
    rows = [_row("pytorch", "bundle", 12), _row("pytorch", "plain-loop", 14), _row("onnx", "bundle", 4)]
    return {
        "made_by": "python -m edgeclf_benchmarks.records.survey",
        "created_utc": "2026-01-02T03:04:05Z",
        "machine": {"cpu": "A CPU"},
        "figures": [{"backbone": "resnet|18", "rows": rows}],
    }


def test_the_table_is_replaced_and_nothing_else_changes() -> None:
    page = f"# edgeclf\n\n{BEGIN}\n\nold\n\n{END}\n\n## Next\n"
    found = with_table(page, _record())
    assert found.startswith(f"# edgeclf\n\n{BEGIN}\n\n| backbone |") and found.endswith(f"\n{END}\n\n## Next\n")
    assert "old" not in found
    assert with_table(found, _record()) == found


def test_a_line_holds_the_medians_of_every_target_at_the_first_number_of_threads() -> None:
    found = with_table(f"{BEGIN}{END}", _record())
    (line,) = (each for each in found.splitlines() if "resnet" in each)
    cells = [cell.replace("\\", "") for cell in line.strip("| ").split(" | ")]
    assert cells == [
        "resnet|18",
        "192x224",
        "16.00",
        "12.00 [11.90, 12.10]",
        "4.00 [3.90, 4.10]",
        "n/a",
        "14.00 [13.90, 14.10]",
        "6.00 [5.90, 6.10]",
        "n/a",
    ]
    assert "1 thread, A CPU, 2026-01-02" in found


@pytest.mark.parametrize("page", ["", f"{BEGIN}", f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_the_two_comments_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="once each and in this order"):
        with_table(page, _record())


def test_the_page_agrees_with_the_record() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if not RECORD.exists():
        assert BEGIN in page and END in page
        pytest.skip("benchmarks/results/bench.json has not been recorded yet")
    assert with_table(page, json.loads(RECORD.read_bytes())) == page
