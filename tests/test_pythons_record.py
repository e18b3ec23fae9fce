"""What pyproject.toml and the documentation say of Pythons is what was run, by the record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records.interpreters import SUPPORTED
from edgeclf_benchmarks.records.pythons import table

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def figures(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "benchmarks/results/pythons.json").read_bytes())["figures"]
    return found


def test_every_python_of_the_classifiers_has_run_the_runtime_without_a_failure(
    root: Path, figures: dict[str, Any]
) -> None:
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (root / "pyproject.toml").read_text())
    assert tuple(named) == SUPPORTED
    for minor in named:
        run = figures[minor]["runtime"]
        assert run["python"].startswith(f"{minor}.") and run["failed"] == 0 and run["passed"] > 1000, minor


def test_the_page_shows_the_record(root: Path, figures: dict[str, Any]) -> None:
    assert "\n".join(table(figures)) in (root / "docs/installing.md").read_text()


def test_what_has_not_run_or_failed_is_shown() -> None:
    run = {"python": "3.12.1", "passed": 1200, "failed": 2, "created_utc": "2026-01-02T03:04:05Z", "demo_exit_code": 1}
    lines = table({"3.12": {"workstation": run}})
    assert "| 3.11 | never run | never run | never run |" in lines
    assert "| 3.12 | never run | never run | 3.12.1: demo failed, 1,200 tests passed, 2 failed, 2026-01-02 |" in lines
