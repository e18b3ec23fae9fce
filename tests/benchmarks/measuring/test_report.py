"""A report whose parts don't fit together is one line when it is read, not a crash when it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_report

from edgeclf_benchmarks.measuring.report import read_report, report_document, write_report
from edgeclf_runtime.errors import DataError


def shorter(report: Any) -> None:
    report["rows"][1]["latencies"][0]["started_s"][3].pop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda report: report.update(reference="other"), "the reference 'other' is none of the rows"),
        (lambda report: report["rows"].clear(), "the reference 'float' is none of the rows"),
        (lambda report: report["settings"].update(threads=[]), "wanted at least one number of threads"),
        (lambda report: report["settings"].update(batch_sizes=[0]), "wanted at least one batch size, each 1 or more"),
        (lambda report: report["data"]["images"][0].update(number=3), "has the numbers [3] of 3 classes"),
        (lambda report: report["comparisons"][0].update(ratio=0.0), "a ratio of times that is not above 0"),
        (lambda report: report["same_against_same"][0].update(floor=-1.0), "a ratio of times that is not above 0"),
        (lambda report: report["rows"][0]["latencies"][0].update(min_ms=0.0), "a latency is above 0 ms"),
        (shorter, "other numbers of 'infer' calls than of moments when they began"),
    ],
)
def test_a_report_whose_parts_do_not_fit_is_one_line(
    change: Callable[[Any], object], said: str, tmp_path: Path
) -> None:
    document = report_document(made_report({"float": (5.0, 2), "int8": (2.0, 3)}, images=12))
    change(document)
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(DataError) as refused:
        read_report(tmp_path / "report.json")
    assert said in str(refused.value)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = made_report({"float": (5.0, 2), "int8": (2.0, 3)}, images=12, corrupted=True)
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
