"""Images that are damaged, gone or changed are left out with a count, or refused; the suggested command works."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf import cli
from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.evaluate import evaluate_run
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.run import Run
from edgeclf.training.train import finish, train
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import Progress

Make = Callable[..., TrainConfig]


@pytest.fixture
def images(discs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(discs, tmp_path / "images"))


def corrupt(split: DataSplit) -> None:
    """A training file that is no image, a validation image that changed, a test image that is gone."""
    train_item, val_item, test_item = (split.of(name)[0] for name in ("train", "val", "test"))  # type: ignore[arg-type]
    train_item.path.write_bytes(train_item.path.read_bytes()[:200])
    shutil.copyfile(split.of("train")[1].path, val_item.path)
    test_item.path.unlink()


def test_images_that_can_not_be_used_are_left_out_with_a_count_and_the_split_stays_known(
    images: Path, config: Make, recorder: Any, tmp_path: Path
) -> None:
    split = open_data(images)
    corrupt(split)
    progress = recorder()
    run = train(config(strategy="linear-probe"), split, tmp_path / "run", progress)
    (warning,) = [text for text in progress.warnings if "can't be used" in text]
    assert warning.startswith("3 of 36 images") and "changed since" in warning and "missing" in warning
    assert run.outcome().training_images == len(split.of("train")) - 1
    assert run.outcome().data_sha256 == split.digest
    report = evaluate_run(run, split)
    assert report.evaluation.images == len(split.of("test")) - 1 and not report.unreadable and not report.other_data


def test_strict_stops_before_a_run_is_made(images: Path, config: Make, tmp_path: Path) -> None:
    split = open_data(images)
    corrupt(split)
    with pytest.raises(DataError, match=r"3 of 36 images can't be used.*without --strict"):
        train(config(), split, tmp_path / "run", strict=True)
    assert not Run.is_at(tmp_path / "run")


def test_a_wrong_folder_is_refused_instead_of_leaving_its_images_out(
    images: Path, config: Make, tmp_path: Path
) -> None:
    split = open_data(images)
    for item in split.images[:30]:
        item.path.write_bytes(b"another image")
    with pytest.raises(DataError, match="30 of 36 images can't be used"):
        train(config(), split, tmp_path / "run")


def test_a_folder_with_a_damaged_image_trains_at_the_command_line(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "blue" / "3.png").write_bytes(b"not an image")
    monkeypatch.chdir(tmp_path)
    command = ["train", "images", "-m", "test_resnet", "--weights", "random", "--img-size", "32"]
    assert cli.run([*command, "--strategy", "linear-probe", "--epochs", "1", "--device", "cpu"]) == 0
    stderr = " ".join(capsys.readouterr().err.split())
    assert "1 of 36 images can't be used: blue/3.png" in stderr and "--strict stops" in stderr
    assert cli.run([*command, "--name", "other", "--strict"]) == 3


@pytest.mark.parametrize(
    ("strict", "ends"), [(False, "; they are left out (--strict stops)"), (None, "; they are left out")]
)
def test_strict_is_advised_only_where_it_is_an_option(
    strict: bool | None, ends: str, images: Path, recorder: Any
) -> None:
    data, watcher = open_data(images), recorder()
    data.images[0].path.write_bytes(b"another image")
    leave_out_unusable(data, strict=strict, progress=watcher)
    (warning,) = watcher.warnings
    assert warning.endswith(ends)


@pytest.fixture
def interrupted(config: Make, data: DataSplit, recorder: Any, tmp_path: Path) -> Path:
    """A run that Ctrl-C ended after its second epoch of four."""
    with pytest.raises(KeyboardInterrupt):
        train(config(strategy="full", epochs=4), data, tmp_path / "run", recorder(stop_after=2))
    return tmp_path / "run"


def test_the_best_epoch_of_an_interrupted_run_can_be_kept_and_exported(interrupted: Path) -> None:
    with pytest.raises(DataError, match="train --finish"):
        Run(interrupted).exportable()
    run = finish(interrupted)
    assert run.outcome().cut_short and len(run.history()) == 2
    best = run.history()[run.outcome().best_epoch - 1]
    assert run.outcome().scores["val_top1"] == best["val_top1"]
    assert run.exportable().labels == run.data().classes
    with pytest.raises(UsageError, match="has ended"):
        finish(interrupted)


def test_other_epochs_beside_resume_are_refused_with_the_command_that_ends_the_run(
    interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["train", "--resume", str(interrupted), "--epochs", "2"]) == 2
    assert f"edgeclf train --finish {interrupted}" in " ".join(capsys.readouterr().err.split())
    assert cli.run(["train", "--finish", str(interrupted)]) == 0
    assert "ended early" in capsys.readouterr().out


def test_a_run_without_a_whole_epoch_has_nothing_to_keep(config: Make, data: DataSplit, tmp_path: Path) -> None:
    class Stopper(Progress):
        def advance(self, parts: int = 1) -> None:
            if (tmp_path / "run" / "config.json").exists():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config(strategy="full"), data, tmp_path / "run", Stopper())
    with pytest.raises(DataError, match="no epoch has ended"):
        finish(tmp_path / "run")


def test_of_equal_epochs_the_one_with_the_lower_loss_is_the_best(config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(strategy="full", epochs=6, lr=3e-3), data, tmp_path / "run")
    history = run.history()
    top = max(record["val_macro_f1"] for record in history)
    tied = [record["val_loss"] for record in history if record["val_macro_f1"] == top]
    assert len(tied) > 1, "the training should reach its best figure more than once"
    assert history[run.outcome().best_epoch - 1]["val_loss"] == min(tied)
