"""Of a portable bundle with several models, an engine of each is built; the fastest that passes is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tiny

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy import candidate_selection
from edgeclf_runtime.deploy.build_result import Outcome
from edgeclf_runtime.deploy.candidate_selection import build_fastest
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.progress import SILENT

Build = Callable[[dict[str, float], set[str]], Outcome]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """(name -> milliseconds, names of those that fail) -> the outcome, for models that run on the CPU."""
    models = {name: tiny.build(tmp_path / f"model-{name}") for name in ("fp16", "fp32", "int8")}
    names = {model.path: name for name, model in models.items()}
    proof = verify(models["fp32"])

    def begin(times: dict[str, float], failing: set[str]) -> Outcome:
        def build_one(model: Bundle, place: Path) -> Outcome:
            if names[model.path] in failing:
                raise GateError("its outputs are wrong")
            return Outcome(tiny.build(place), True, proof, None, 0.0)

        def time(calls: Sequence[object]) -> list[tuple[float, ...]]:
            """Of those that were built, and of the baseline once more."""
            built = [times[name] for name in models if name not in failing]
            baseline = times["fp32"] if "fp32" not in failing else built[0]
            return [(*built, baseline)] * 3

        monkeypatch.setattr(candidate_selection, "models_of", lambda bundle: models)
        portable, place = models["fp32"], tmp_path / "built"
        return build_fastest(portable, place, build_one, SessionOptions(), progress=SILENT, time=time)

    return begin


def test_the_fastest_is_taken_and_the_others_are_told(build: Build, tmp_path: Path) -> None:
    found = build({"fp16": 1.0, "fp32": 2.0, "int8": 4.0}, set())
    assert (found.bundle.path, found.median_ms) == (tmp_path / "built", 1.0)
    assert any(remark.startswith("int8: 4.00 ms, 0.50 x fp32, in ") for remark in found.remarks)
    assert (tmp_path / "built-fp32" / "manifest.json").is_file()
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("built")]) == 3


def test_one_that_fails_is_left_out(build: Build, tmp_path: Path) -> None:
    found = build({"fp16": 1.0, "fp32": 2.0, "int8": 4.0}, {"fp16"})
    assert found.median_ms == 2.0 and found.bundle.path.name == "built-fp32"
    assert "fp16 fails here and is left out: its outputs are wrong" in found.remarks


def test_without_fp32_the_first_that_passes_is_the_baseline(build: Build) -> None:
    found = build({"fp16": 3.0, "fp32": 2.0, "int8": 4.0}, {"fp32"})
    assert found.median_ms == 3.0 and any("x fp16, in" in remark for remark in found.remarks)


def test_where_all_fail_the_reasons_are_named(build: Build) -> None:
    with pytest.raises(GateError, match=r"no model of it passes on this machine; fp16 fails here .* int8 fails here"):
        build({}, {"fp16", "fp32", "int8"})
