"""Checks on a GPU: each finding is kept at once, a failed one with its words, and none ends the others."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records.gpu.checks import Checks, Refused


def figures(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.read_text())["figures"]
    return found


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "record.json"


def test_what_passes_and_what_fails_is_on_record_after_each_check(output: Path, tmp_path: Path) -> None:
    checks = Checks(output, "a.module", tmp_path, 60)
    assert checks.run("sound", lambda: {"images": 3}) == {"images": 3}
    assert figures(output)["sound"]["found"] == {"images": 3}
    assert checks.run("damaged", lambda: checks.edgeclf("verify", str(tmp_path / "no-bundle"))) is None
    found = figures(output)["damaged"]
    assert found["passed"] is False and "Refused: exit code" in found["words"]
    assert "no-bundle" in found["words"] and str(tmp_path) not in found["words"]


def test_checks_run_side_by_side_on_their_own_cores(output: Path, tmp_path: Path) -> None:
    checks = Checks(output, "a.module", tmp_path, 60)
    program = "import os; print(len(os.sched_getaffinity(0)))"
    found = checks.together({str(number): lambda: int(checks.python("-c", program)) for number in range(3)}, at_once=2)
    assert set(found) == {"0", "1", "2"} and all(each >= 1 for each in found.values())
    alone = int(checks.python("-c", program))
    assert all(each <= max(1, (alone + 1) // 2) or alone < 2 for each in found.values())


def test_what_nobody_asked_for_or_has_no_time_is_not_run(output: Path, tmp_path: Path) -> None:
    def never() -> None:
        raise AssertionError

    Checks(output, "a.module", tmp_path, 60, only="^train").run("bench", never)
    assert not output.exists()
    Checks(output, "a.module", tmp_path, -1).run("bench", never)
    assert figures(output)["bench"] == {"passed": None, "words": "not run, for want of time"}


def test_a_check_of_a_gpu_says_so_without_one(tmp_path: Path, output: Path) -> None:
    training = import_module("edgeclf_benchmarks.records.gpu.training")
    checks = Checks(output, "a.module", tmp_path, 60)
    for check in (training.nccl, training.short_of_memory):
        with pytest.raises(Refused, match="GPU"):
            check(checks, "cpu")


@pytest.mark.parametrize("name", ["training", "pytorch", "tensorrt", "onnxruntime"])
def test_each_module_explains_itself(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit):
        import_module(f"edgeclf_benchmarks.records.gpu.{name}").main()
    assert f"edgeclf_benchmarks.records.gpu.{name} -o" in capsys.readouterr().out
