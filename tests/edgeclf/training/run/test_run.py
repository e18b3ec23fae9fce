"""A run folder is whole or not there, and belongs to one training at a time."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeclf.training.choices import Strategy
from edgeclf.training.config import TrainConfig
from edgeclf.training.run import checkpoint
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.errors import DataError, EdgeclfError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]


@pytest.fixture
def interrupted(config: Make, data: DataSplit, recorder: Any, tmp_path: Path) -> Run:
    """A run that was stopped after the first of its two epochs."""
    with pytest.raises(KeyboardInterrupt):
        train(config(strategy="full"), data, tmp_path / "interrupted", recorder(stop_after=1))
    return Run.open(tmp_path / "interrupted")


@pytest.mark.parametrize(("weights", "rate"), [("hub", 3e-4), ("random", 1e-4)])
def test_all_layers_learn_faster_from_pretrained_weights_than_from_random_ones(weights: str, rate: float) -> None:
    strategies: tuple[Strategy, ...] = ("two-phase", "full")
    for strategy in strategies:
        config = TrainConfig(model="resnet18", weights=weights, strategy=strategy)
        assert config.peak_lr == pytest.approx(rate)
        assert replace(config, lr=0.01).peak_lr == 0.01


def test_a_run_keeps_its_rate_and_one_of_an_older_release_that_named_none_keeps_the_older_default(
    interrupted: Run,
) -> None:
    config = interrupted.read_json("config.json")
    assert config["lr"] == interrupted.config().peak_lr
    interrupted.write_json("config.json", config | {"lr": None, "head_lr": 0.002, "weights": "hub"})
    assert interrupted.config().peak_lr == pytest.approx(0.0002)


@pytest.mark.parametrize(
    "changes",
    [
        {"amp": "fp16"},
        pytest.param({"device": "cuda"}, marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")),
    ],
)
def test_what_this_machine_can_not_do_leaves_no_folder(
    changes: dict[str, Any], config: Make, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(EdgeclfError, match=r"GPU|cuda"):
        train(config(**changes), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_without_validation_images_leaves_no_folder(config: Make, data: DataSplit, tmp_path: Path) -> None:
    blind = replace(data, images=data.of("train"))
    with pytest.raises(DataError, match="no val images"):
        train(config(), blind, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_the_training_with_the_last_epoch_kept(
    interrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def fail(*arguments: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    before = (interrupted.path / "checkpoint" / "state.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", fail)
        with pytest.raises(DataError, match="No space left"):
            resume(interrupted.path)
    assert (interrupted.path / "checkpoint" / "state.json").read_bytes() == before
    assert resume(interrupted.path).finished


def test_tensors_that_can_not_be_written_are_a_fault_of_the_operating_system(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        checkpoint.save_tensors({"weight": torch.zeros(2)}, tmp_path / "nowhere" / "file.safetensors")
    assert caught.value.errno == errno.EIO


def test_tensors_of_a_checkpoint_are_copied_only_where_they_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(checkpoint, "save_tensors", lambda tensors, path: written.update(tensors))
    weights, own = torch.arange(4.0), torch.arange(4.0, 8.0)
    state = checkpoint.Checkpoint(0, 0, {"a": weights, "b": own}, {"a": weights})
    checkpoint.save_checkpoint(tmp_path / "checkpoint", state)
    assert {name: tensor.tolist() for name, tensor in written.items()} == {
        "weights/a": [0, 1, 2, 3],
        "weights/b": [4, 5, 6, 7],
        "best/a": [0, 1, 2, 3],
    }
    assert written["weights/a"].data_ptr() == weights.data_ptr() != written["best/a"].data_ptr()
    assert written["weights/b"].data_ptr() == own.data_ptr()


@pytest.mark.parametrize(
    ("tensor", "state"),
    [("weights/a", "[]"), ("others/a", "{}"), ("optimizer/one/a", "{}"), ("weights/a", "[" * 100_000), ("a", "{")],
)
def test_a_checkpoint_that_is_damaged_or_another_programs_is_one_line(tensor: str, state: str, tmp_path: Path) -> None:
    checkpoint.save_tensors({tensor: torch.zeros(2)}, tmp_path / checkpoint.TENSORS)
    (tmp_path / checkpoint.STATE).write_text(state)
    with pytest.raises(DataError, match="checkpoint"):
        checkpoint.load_checkpoint(tmp_path)


def test_two_processes_do_not_train_in_one_folder(interrupted: Run) -> None:
    script = (
        "import sys; from pathlib import Path; from edgeclf.training.run.run import Run\n"
        "with Run(Path(sys.argv[1])).alone(): print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(interrupted.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another process"):
            resume(interrupted.path)
        other.communicate()
    assert resume(interrupted.path).finished


def test_resume_removes_the_partial_files_of_a_killed_training(interrupted: Run) -> None:
    draft = interrupted.path / ".checkpoint.partial-abc"
    (draft / "checkpoint").mkdir(parents=True)
    resume(interrupted.path)
    assert not draft.exists()


def test_a_kill_between_the_last_checkpoint_and_its_history_loses_no_line(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    run = train(config(strategy="linear-probe"), data, tmp_path / "run")
    whole = run.history()
    for name in ("model.json", "history.jsonl"):
        (run.path / name).unlink()
    assert resume(run.path).history() == whole


def test_a_checkpoint_of_another_backbone_is_refused_with_the_difference(interrupted: Run) -> None:
    network = interrupted.read_json("network.json")
    network["builder"]["arguments"]["num_classes"] = 4
    interrupted.write_json("network.json", network)
    with pytest.raises(DataError, match=r"fc\.weight has \(3, "):
        resume(interrupted.path)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schedule": "plateau", "ema": 0.9}, marks=pytest.mark.check),
        {"accumulate": 2, "sampler": "weighted", "drop": 0.5},
    ],
)
def test_resume_is_exact_with(
    changes: dict[str, Any], config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    chosen = config(strategy="full", **changes)
    whole = train(chosen, data, tmp_path / "whole").weights()
    with pytest.raises(KeyboardInterrupt):
        train(chosen, data, tmp_path / "parts", recorder(stop_after=1))
    found = resume(tmp_path / "parts").weights()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.0},
        {"head_lr": float("nan")},
        {"mixup": -1.0},
        {"clip": -1.0},
        {"layer_decay": 0.7},
        {"weight_decay": -1},
    ],
)
def test_numbers_that_mean_nothing_are_usage_errors(changes: dict[str, Any], config: Make) -> None:
    with pytest.raises(UsageError):
        config(strategy="full", **changes)
