"""Where a report goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_reports import made_report

from edgeclf_benchmarks.benching import _write
from edgeclf_benchmarks.measuring.report import read_report
from edgeclf_runtime.errors import UsageError


def test_a_report_whose_default_place_was_taken_meanwhile_goes_to_the_next_one(tmp_path: Path) -> None:
    report, taken = made_report({"a": (1.0, 3)}, images=20), tmp_path / "1.json"
    taken.write_text("of another bench")
    assert _write(report, taken, force=False, elsewhere=True) == tmp_path / "2.json"
    assert read_report(tmp_path / "2.json") == report and taken.read_text() == "of another bench"
    with pytest.raises(UsageError, match="exists"):
        _write(report, taken, force=False, elsewhere=False)
