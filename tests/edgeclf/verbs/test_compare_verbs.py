"""`compare` and `recommend`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from made_reports import made_report, saved

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
ROWS = {"torch": (12.0, 40), "[red]<b>\x1b[31m": (5.0, 40)}


def test_compare_shows_the_verdict_and_writes_page_markdown_and_merged_json(tmp_path: Path, edgeclf: Run) -> None:
    saved(made_report(ROWS), tmp_path / "a.json")
    saved(made_report(ROWS, cpu="Board"), tmp_path / "b.json")
    done = edgeclf("compare", "a.json", "b.json", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert b"[red]<b>\\x1b" in done.stdout and b"\x1b" not in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.md", "report.json"}
    merged = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (merged["schema"], merged["kind"], len(merged["sources"])) == (1, "compare", 2)
    assert edgeclf("compare", "a.json", "-o", "out").returncode == 2


def test_a_failed_gate_ends_with_1_and_stands_in_the_report(tmp_path: Path, edgeclf: Run) -> None:
    saved(made_report(ROWS), tmp_path / "a.json")
    done = edgeclf("compare", "a.json", "--fail-if", "p50_ms>6", "-o", "out", "--json")
    assert done.returncode == 1
    assert [gate["verdict"] for gate in json.loads(done.stdout)["gates"]] == ["fail", "pass"]
    assert "✗ fail" in (tmp_path / "out" / "report.html").read_text()
    assert edgeclf("compare", "a.json", "--fail-if", "speed>6").returncode == 2


def test_recommend_picks_and_says_why_or_ends_with_1(tmp_path: Path, edgeclf: Run) -> None:
    saved(made_report(ROWS), tmp_path / "a.json")
    done = edgeclf("recommend", "a.json", "--max-ms", "20", "--max-mb", "6")
    assert done.returncode == 0 and b"the only bundle that keeps all limits" in done.stdout
    assert edgeclf("recommend", "a.json", "--max-ms", "1").returncode == 1
    assert edgeclf("recommend", "a.json", "--min-top1", "93").returncode == 2


def test_an_inconclusive_gate_ends_with_0_and_with_1_when_strict(tmp_path: Path, edgeclf: Run) -> None:
    saved(made_report(ROWS, yardsticks={"numpy": 3.0}, busy=0.0), tmp_path / "old.json")
    saved(made_report(ROWS, seed=9, yardsticks={"numpy": 9.0}, busy=0.0), tmp_path / "new.json")
    given = ("compare", "new.json", "--baseline", "old.json", "--fail-if", "p50_ratio>1.05")
    done = edgeclf(*given)
    assert done.returncode == 0 and done.stdout.decode().lower().count("inconclusive") >= 2
    assert b"times slower than for the baseline (yardstick numpy)" in done.stdout
    strict = edgeclf(*given, "--strict")
    assert strict.returncode == 1 and b"2 of 2 gates are inconclusive, the first: p50_ratio>1.05" in strict.stderr
    assert edgeclf("compare", "new.json", "--fail-if", "p50_ms>99", "--strict").returncode == 0
    refused = edgeclf("compare", "new.json", "--strict")
    assert refused.returncode == 2 and b"--strict is for gates; give --fail-if, too" in refused.stderr
