"""What the shell completes is what the verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from edgeclf.verbs.export import export
from edgeclf.verbs.shared import completion


def test_targets_and_strategies_are_those_that_the_verbs_take() -> None:
    from edgeclf.training.config import Strategy
    from edgeclf.training.learning_curve.curve import BASELINE
    from edgeclf_export.targets.registry import TARGETS

    assert list(TARGETS) == completion.targets("")
    *others, last = TARGETS
    (option,) = get_type_hints(export, include_extras=True)["target"].__metadata__
    assert option.help.startswith(f"{', '.join(others)} or {last}; repeatable")
    assert (*get_args(Strategy), BASELINE) == completion.STRATEGIES
    assert completion.strategies("hog-svm,li") == ["hog-svm,linear-probe"]


def test_models_are_those_that_edgeclf_lists() -> None:
    from edgeclf_export.sources.model_zoo import known_backbones

    assert set(completion.models("")) == {backbone.name.partition("/")[2] for backbone in known_backbones()}
    assert completion.models("resnet1") == ["resnet18"]


def test_runs_and_bundles_are_found_where_the_verbs_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (
        "runs/cats/config.json",
        "runs/notes.txt",
        "bundles/cats-onnx/manifest.json",
        "bundles/cats.tar",
        "dogs.tar",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    assert completion.runs("") == ["runs/cats"]
    assert completion.bundles("") == ["bundles/cats-onnx", "bundles/cats.tar", "dogs.tar"]
    assert completion.runs_and_bundles("runs/") == ["runs/cats"] and completion.bundles("elsewhere") == []
