"""What the shell completes is what the verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from edgeclf import cli
from edgeclf.training import choices
from edgeclf.verbs.data.preview import Recipe
from edgeclf.verbs.shared import bench_options, completion, options, training_options
from edgeclf.verbs.shared.exporting import source_options


def test_choices_that_the_commands_repeat_are_those_of_the_packages() -> None:
    from edgeclf.training.inputs.augment import RECIPES
    from edgeclf.training.learning_curve.curve import BASELINE
    from edgeclf_benchmarks.measuring.corruptions import NAMES
    from edgeclf_benchmarks.measuring.options import PROFILES
    from edgeclf_export.exportable import InputForm
    from edgeclf_export.graph.onnx_graph import NEWEST_OPSET, OLDEST_OPSET
    from edgeclf_export.targets.registry import TARGETS
    from edgeclf_runtime.bundle.manifest import Precision
    from edgeclf_runtime.images.labelled import SplitOrAll
    from edgeclf_runtime.images.pixels import Interpolation, PixelMode

    assert [each.value for each in options.Target] == list(TARGETS)
    assert [each.value for each in Recipe] == list(RECIPES) == list(get_args(choices.RecipeName))
    assert (*get_args(choices.Strategy), BASELINE) == training_options.APPROACHES
    assert bench_options.CORRUPTIONS == NAMES and get_args(bench_options.Profile) == tuple(PROFILES)
    assert get_args(options.PixelMode) == get_args(PixelMode)
    assert get_args(options.SplitOrAll) == get_args(SplitOrAll)
    assert {*get_args(options.OwnPrecision), "mixed"} == set(get_args(Precision))
    assert get_args(source_options.InputForm) == get_args(InputForm)
    assert get_args(source_options.Interpolation) == get_args(Interpolation)
    assert (OLDEST_OPSET, NEWEST_OPSET) == (18, 20)  # as --opset has them


def test_the_shell_completes_each_choice_and_the_last_of_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def completed(line: str) -> list[str]:
        monkeypatch.setenv("_EDGECLF_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit):
            cli.main([])
        return capsys.readouterr().out.split()

    assert completed("edgeclf train --sampler ") == ["shuffle", "weighted"]
    assert completed("edgeclf export --target o") == ["onnx", "openvino"]
    assert completed("edgeclf export --encoder ") == ["image", "text"]
    assert completed("edgeclf verify --pixels f") == ["fast"]
    assert completed("edgeclf data preview --augment s") == ["standard", "strong"]
    assert completed("edgeclf train --strategy hog-svm,li") == ["hog-svm,linear-probe"]
    assert completed("edgeclf bench --corruptions noise,bl") == ["noise,blur"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "photos", "--loss", "hinge"],
            "--loss takes no 'hinge'; choose one of cross-entropy, focal, asymmetric;",
        ),
        (["train", "photos", "--strategy", "full,best"], "--strategy takes no 'best'; choose one of linear-probe, "),
        (["bench", "b", "--corruptions", "snow"], "--corruptions takes no 'snow'; choose one of noise, blur,"),
        (["export", "-t", "tpu"], "--target takes no 'tpu'; choose one of onnx, openvino, litert, tensorrt, pytorch;"),
        (["eval", "run", "--split", "it's"], '--split takes no "it\'s"; choose one of test, val, train, all;'),
    ],
)
def test_a_value_that_is_no_choice_is_one_line_with_those_that_are(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and line.endswith("--help")


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
