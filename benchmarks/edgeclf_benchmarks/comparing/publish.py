"""A comparison as a folder: report.json for programs, report.md for a pull request, report.html for people."""

from __future__ import annotations

import json
from pathlib import Path

from edgeclf_benchmarks.comparing.compare import Compared
from edgeclf_benchmarks.comparing.page import page
from edgeclf_benchmarks.comparing.summary import summary
from edgeclf_runtime.records import to_json
from edgeclf_runtime.writer import writing


def publish(compared: Compared, folder: Path, *, force: bool = False) -> None:
    """Writes the three files in one step. Raises UsageError where the folder exists and `force` is False."""
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / "report.json").write_text(json.dumps(to_json(compared), allow_nan=False) + "\n")
        (draft / "report.md").write_text(summary(compared), encoding="utf-8")
        (draft / "report.html").write_text(page(compared), encoding="utf-8")
