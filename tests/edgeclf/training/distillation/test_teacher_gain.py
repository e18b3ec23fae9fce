"""What a teacher brings is measured against the same student without it, and a run and its bundles name the teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_report, saved

from edgeclf.cli import run as cli_run
from edgeclf.data.split_file import save_split
from edgeclf.training.config import TrainConfig
from edgeclf.training.from_paths import resume_training, train
from edgeclf.training.run.run import UNLABELLED, Run
from edgeclf.training.teacher_gain import without_teacher
from edgeclf.training.train import train as train_run
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def split(data: DataSplit, tmp_path: Path) -> Path:
    save_split(data, tmp_path / "split.json")
    return tmp_path / "split.json"


def test_the_gain_is_paired_on_the_same_images_and_goes_on_after_an_interruption(
    config: Make, split: Path, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path
) -> None:
    chosen, folder = config(strategy="linear-probe", teacher=str(teacher)), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(split, chosen, folder=folder, compare="val", progress=recorder(stop_after=3))
    other = Run(tmp_path / "run-no-teacher")
    assert Run(folder).finished and not other.finished and other.config() == replace(chosen, teacher=None)
    found = resume_training(folder, compare="val")
    gain = found.gain
    assert gain is not None and gain.selected_here and gain.images == len(data.of("val")) and gain.test_use is None
    assert gain.value == found.outcome.scores["val_top1"] and gain.value_without == other.outcome().scores["val_top1"]
    assert gain.points == pytest.approx(100 * (gain.gained - gain.lost) / gain.images)
    assert gain.interval.low <= gain.points <= gain.interval.high
    assert len(other.history()) == len(Run(folder).history())
    tested = resume_training(folder, compare="test").gain
    assert tested is not None and tested.images == len(data.of("test")) and tested.test_use == 1
    assert "use no. 1 of this test split" in str(tested)


def test_without_unlabelled_images_the_student_takes_as_many_steps(
    config: Make, data: DataSplit, teacher: Path, tmp_path: Path
) -> None:
    few = replace(data, images=tuple(image for image in data.images if image not in data.of("train")[::2]))
    shutil.copytree(data.root, tmp_path / "images")
    run = train_run(config(teacher=str(teacher), unlabelled=str(tmp_path / "images")), few, tmp_path / "run")
    alone = without_teacher(run)
    assert alone.teacher is None and alone.unlabelled is None
    assert (alone.epochs, alone.head_epochs) == (4, 6)  # of half as many images
    unlabelled = run.unlabelled()
    assert unlabelled is not None
    save_split(replace(unlabelled, images=unlabelled.images[:1]), run.path / UNLABELLED, force=True)
    alone, taught = without_teacher(run), run.config()
    assert (alone.epochs, alone.head_epochs) == (taught.epochs, taught.first_epochs)  # the nearest number of epochs


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({}, True, "give a --teacher"),
        ({"teacher": "t", "unlabelled": "u"}, False, "no labels to learn from"),
    ],
)
def test_a_comparison_of_nothing_is_refused(
    changes: dict[str, Any], labels: bool, message: str, config: Make, split: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(split if labels else None, config(**changes), compare="val")


def test_a_comparison_without_images_is_refused_before_weights_are_looked_for(
    config: Make, data: DataSplit, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for left_out, name in (("test", "test"), ("val", "validation")):
        rest = replace(data, images=tuple(image for image in data.images if image.split != left_out))
        save_split(rest, tmp_path / f"{left_out}.json")
        begun = ["-m", "test_resnet", "--weights", "gone.pth", "--evaluate-on", left_out, "--name", "new"]
        for kind in (["--teacher", str(teacher), "--compare"], ["--fraction", "0.5,1"]):
            assert cli_run(["train", f"{left_out}.json", *begun, *kind]) == 3
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{left_out}.json has no {name} images" in line and ("--evaluate-on val" in line) is (name == "test")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_can_not_be_compared_says_what_could_be_without_advice_that_fails(
    config: Make, data: DataSplit, teacher: Path, recorder: Any, tmp_path: Path, capsys: Capture
) -> None:
    rest = replace(data, images=tuple(image for image in data.images if image.split != "test"))
    for name, own in (("taught", str(teacher)), ("untaught", None)):
        with pytest.raises(KeyboardInterrupt):
            train_run(config(strategy="linear-probe", teacher=own), rest, tmp_path / name, recorder(stop_after=1))
    resumed = ["train", "--resume", str(tmp_path / "taught"), "--compare"]
    assert cli_run([*resumed, "--evaluate-on", "test"]) == 3
    *advice, line = capsys.readouterr().err.splitlines()
    assert "taught has no test images to compare on" in line and "--compare" not in " ".join(advice)
    (tmp_path / "taught-no-teacher").symlink_to(tmp_path / "untaught")
    (tmp_path / "untaught" / "config.json").write_text(json.dumps({**to_json(config()), "seed": 3}))
    assert cli_run(resumed) == 2
    assert "holds another run; move it away" in capsys.readouterr().err
    assert cli_run(["train", "--resume", str(tmp_path / "untaught"), "--compare"]) == 2
    assert "untaught had no teacher that --compare could leave out; start a new" in capsys.readouterr().err
    assert not Run(tmp_path / "taught").finished


def test_the_command_names_the_teacher_wherever_the_model_goes(
    discs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = ["-m", "test_resnet", "--weights", "random", "--img-size", "32", "--workers", "0", "--name", "taught"]
    options = ["--strategy", "linear-probe", "--epochs", "1", "--teacher", str(teacher), "--json"]
    assert cli_run(["train", str(discs), *network, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["teacher"]["name"] == "teacher" and found["gain"] is None
    assert cli_run(["export", "runs/taught", "-t", "pytorch", "-o", "bundles"]) == 0
    capsys.readouterr()
    bundle = "bundles/taught-pytorch-fp32"
    for verb in (["inspect", bundle], ["inspect", bundle, "--card"], ["runs", "."]):
        assert cli_run(verb) == 0
        shown = capsys.readouterr().out
        assert "run teacher (" in shown.replace("\\", "") or "taught by teacher" in shown, verb
    manifest = Bundle.open(bundle).manifest
    report = made_report({"onnx": (5.0, 30)})
    row = replace(report.row("onnx"), teacher=manifest.provenance.teacher)
    saved(replace(report, rows=(row,)), tmp_path / "bench.json")
    assert cli_run(["compare", "bench.json", "-o", "report"]) in (0, 1)
    assert "run teacher (" in (tmp_path / "report" / "report.md").read_text().replace("\\", "")
