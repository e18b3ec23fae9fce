"""The record of the ladder: what it takes from an export, also from one that failed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records import ladder


@pytest.mark.parametrize("failed", [False, True])
def test_the_steps_of_an_export_are_recorded_whether_it_passed_or_not(
    failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = {"verdict": "pass", "images": 880, "change_points": -0.234, "bound_points": -0.911, "mean_kl": 0.01}
    judged["top1_reference"] = 0.82386
    steps = [{"name": "int8 min-max + bias", "judged": judged}, {"name": "int8 mse + bias", "judged": None}]
    found = {"rungs": steps, "chosen": "" if failed else "int8 min-max + bias", "why": "because", "final": None}
    document = {"bundles": [] if failed else [{"ladder": found}], "failed": [{"ladder": found}] if failed else []}

    def run(command: list[str], **_: Any) -> Any:
        assert command[1:4] == ["-m", "edgeclf", "export"]
        return subprocess.CompletedProcess(command, int(failed), json.dumps(document), "note\n  learned 44 steps\n")

    monkeypatch.setattr(subprocess, "run", run)
    measured = ladder.measure(Path("run"), "onnx")
    assert (measured["exit_code"], measured["steps"]) == (int(failed), 2)
    assert [step["verdict"] for step in measured["tried"]] == ["pass", None]
    assert measured["tried"][0]["change_points"] == -0.23 and measured["learning"] == ["learned 44 steps"]


def test_a_bundle_that_failed_without_a_ladder_is_recorded_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = json.dumps({"bundles": [], "failed": [{"ladder": None, "reason": "logits are others"}]})
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, printed, ""))
    measured = ladder.measure(Path("run"), "onnx")
    assert measured["exit_code"] == 1 and measured["why"] == "logits are others" and "steps" not in measured


def test_an_export_that_was_refused_ends_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2, "", ""))
    with pytest.raises(SystemExit, match="ended with 2"):
        ladder.measure(Path("run"), "onnx")
