"""The record of INT8: the figures that it takes from a ladder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records.commands import gated
from edgeclf_benchmarks.records.int8 import _choice, _drop


def step(name: str, ratio: float | None, outcome: str) -> dict[str, Any]:
    return {
        "name": name,
        "precision": name.split()[0],
        "became": outcome,
        "shares": None,
        "judged": None,
        "median_ms": ratio,
        "ratio": ratio,
    }


def ladder(chosen: str, int8_ratio: float) -> dict[str, Any]:
    final = {"right_to_wrong": 9, "wrong_to_right": 3, "images": 2000, "source": "once", "top1_reference": 0.9}
    final |= {"top1": 0.897, "change_points": -0.3, "mean_kl": 0.001}
    steps = [step("int8 min-max", int8_ratio, "candidate"), step("fp32", 1.0, "model")]
    return {"chosen": chosen, "why": "because", "noise": 0.02, "rungs": steps, "final": final}


@pytest.mark.parametrize(
    ("chosen", "ratio", "wrong"), [("int8 min-max", 1.1, True), ("int8 min-max", 0.5, False), ("fp32", 1.1, False)]
)
def test_slower_int8_that_was_chosen_is_recorded(chosen: str, ratio: float, wrong: bool) -> None:
    assert _choice(ladder(chosen, ratio))["slower_int8_was_chosen"] is wrong


def test_the_drop_has_its_interval() -> None:
    found = _drop({"bundles": [{"ladder": ladder("int8 min-max", 0.5)}]})
    low, high = found["change_interval"]
    assert low < found["change_points"] == -0.3 < high
    assert (found["right_to_wrong"], found["wrong_to_right"], found["test_images"]) == (9, 3, 2000)


def test_a_failed_gate_is_recorded_and_another_error_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="ended with 2"):
        gated("export", "-t", "tpu", folder=tmp_path)
    monkeypatch.setattr("edgeclf_benchmarks.records.commands.GateError.exit_code", 2)
    assert "takes no 'tpu'" in gated("export", "-t", "tpu", folder=tmp_path)["refused"]
    assert _drop({"refused": "no step holds"}) == {"refused": "no step holds"}
