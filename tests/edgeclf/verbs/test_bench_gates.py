"""`edgeclf bench --fail-if`: what it fails for, on timings that are made up, and what it refuses before it measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_reports import made_report, saved

from edgeclf.cli import run
from edgeclf.evaluation.bench_images import BenchImages
from edgeclf_benchmarks import benching
from edgeclf_benchmarks.comparing import own_gates
from edgeclf_benchmarks.measuring.report import Report, read_report

Make = Callable[..., Path]
Bench = Callable[..., int]
ROWS = {"torch": (12.0, 40), "onnx": (5.0, 40)}
IMAGES = 3000


@pytest.fixture
def benched(make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Runs bench on two bundles; instead of measuring them it has the report that it is given."""
    paths = [str(make_bundle(tmp_path / name)) for name in ROWS]
    monkeypatch.setattr(own_gates, "machine_facts", lambda: made_report(ROWS).machine)
    monkeypatch.setattr(BenchImages, "__call__", lambda *_: _data())
    monkeypatch.setattr(benching, "board_meter", lambda: None)

    def run_bench(report: Report | None, *options: str, data: bool = True) -> int:
        def measure(*_: Any, **__: Any) -> Any:
            assert report is not None, "it was measured"
            return SimpleNamespace(stopped=None, parts=())

        monkeypatch.setattr(benching, "measure", measure)
        monkeypatch.setattr(benching, "report_of", lambda draft, command: report)
        labelled = ["--data", str(tmp_path)] if data else []
        return run(["bench", *paths, *labelled, "-o", str(tmp_path / "new.json"), "--force", *options])

    return run_bench


def _data(name: str = "photos", split: str = "test") -> Any:
    return SimpleNamespace(name=name, digest=f"{name:x>64}", split=split)


@pytest.fixture(scope="module")
def old_reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reports that differ from what is benched."""
    folder = tmp_path_factory.mktemp("old")
    saved(made_report(ROWS), folder / "old.json")
    saved(made_report(ROWS, data="films"), folder / "films.json")
    saved(made_report(ROWS, data=None), folder / "blind.json")
    saved(made_report(ROWS, cpu="Board"), folder / "board.json")
    saved(made_report({"a": (1.0, 1), "b": (1.0, 1)}), folder / "others.json")
    return folder


def test_a_planted_slowdown_of_15_percent_ends_with_1_and_stands_in_the_report(
    benched: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = saved(made_report(ROWS), tmp_path / "old.json")
    slower = made_report({"torch": (12.0, 40), "onnx": (5.75, 40)}, seed=9)
    assert benched(slower, "--baseline", str(old), "--fail-if", "p50_ratio>1.05") == 1
    found = capsys.readouterr()
    assert "p50_ratio>1.05: onnx: 1.1" in found.out and "1 of 2 gates failed" in found.err
    gates = {gate.row: gate.verdict for gate in read_report(tmp_path / "new.json").gates}
    assert gates == {"torch": "pass", "onnx": "fail"}


def test_a_planted_paired_drop_of_a_point_ends_with_1(benched: Bench, tmp_path: Path) -> None:
    old = saved(made_report(ROWS, images=IMAGES), tmp_path / "old.json")
    worse = made_report({"torch": (12.0, 40), "onnx": (5.0, 70)}, images=IMAGES)
    assert benched(worse, "--baseline", str(old), "--fail-if", "top1_drop>0.5") == 1
    assert benched(worse, "--baseline", str(old), "--fail-if", "top1_drop>2") == 0


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 20), marks=pytest.mark.slow)], ids=str)
def test_repeats_without_a_change_raise_no_alarm(seeds: range, benched: Bench, tmp_path: Path) -> None:
    old = saved(made_report(ROWS, images=150), tmp_path / "old.json")
    rules = ("--fail-if", "p50_ratio>1", "--fail-if", "top1_drop>0", "--fail-if", "flips>0")
    for seed in seeds:
        assert benched(made_report(ROWS, images=150, seed=100 + 7 * seed), "--baseline", str(old), *rules) == 0


def test_without_a_baseline_gates_compare_rows_with_the_reference(benched: Bench, tmp_path: Path) -> None:
    assert benched(made_report(ROWS), "--fail-if", "p50_ratio>0.9", "--fail-if", "p50_ms>13") == 0
    assert benched(made_report(ROWS), "--fail-if", "p50_ratio>0.3") == 1
    assert [gate.row for gate in read_report(tmp_path / "new.json").gates] == ["onnx"]


def test_a_gate_on_a_figure_that_is_missing_is_an_error_and_the_report_is_kept(
    benched: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benched(made_report(ROWS), "--fail-if", "images_per_s<5") == 3
    assert "no row can be evaluated by 'images_per_s<5'" in capsys.readouterr().err
    assert read_report(tmp_path / "new.json").gates == ()


def test_an_inconclusive_gate_ends_with_1_only_when_strict(benched: Bench, tmp_path: Path) -> None:
    old = saved(made_report(ROWS, yardsticks={"numpy": 3.0}, busy=0.0), tmp_path / "old.json")
    busy = made_report(ROWS, seed=9, yardsticks={"numpy": 3.0}, busy=1.8)
    given = ("--baseline", str(old), "--fail-if", "p50_ratio>1.05")
    assert benched(busy, *given) == 0
    assert benched(busy, *given, "--strict") == 1


@pytest.mark.parametrize(
    ("options", "data", "code", "message"),
    [
        (["--strict"], True, 2, "--strict is for gates"),
        (["--fail-if", "p50>12"], True, 2, "knows no 'p50'"),
        (["--fail-if", "p50_ms"], True, 2, "wants FIGURE>NUMBER"),
        (["--fail-if", "top1<0.9"], False, 2, "give --data, too"),
        (["--fail-if", "caffe: p50_ms>12"], True, 2, "names no row; the rows are torch, onnx"),
        (["--fail-if", "torch: p50_ratio>1"], True, 2, "compares the reference with itself"),
        (["--baseline", "old.json"], True, 2, "--baseline is for gates"),
        (["--baseline", "none.json", "--fail-if", "p50_ms>1"], True, 3, "none.json: No such file"),
        (["--baseline", "films.json", "--fail-if", "flips>0"], True, 3, "is of other images (films, test"),
        (["--baseline", "board.json", "--fail-if", "p50_ratio>1"], True, 3, "is of another machine"),
        (["--baseline", "blind.json", "--fail-if", "flips>0"], True, 3, "measured latency alone"),
        (["--baseline", "others.json", "--fail-if", "p50_ms>1"], True, 3, "has no row of these (torch, onnx)"),
    ],
)
def test_invalid_gates_are_refused_before_anything_is_measured(
    options: list[str],
    data: bool,
    code: int,
    message: str,
    benched: Bench,
    old_reports: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(old_reports)
    assert benched(None, *options, data=data) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert not (tmp_path / "new.json").exists()


def test_one_bundle_alone_can_not_be_compared(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(bundle), "--fail-if", "p50_ratio>1.1", "-o", str(tmp_path / "r.json")]) == 2
    assert "give a second bundle, or --baseline" in capsys.readouterr().err
