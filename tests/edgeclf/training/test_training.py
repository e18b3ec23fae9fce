"""A training learns, leaves frozen weights as they were, and can be resumed after it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from warm_process import start_script

from edgeclf.cli import run as cli_run
from edgeclf.training.cautions import warn_of_risks
from edgeclf.training.config import TrainConfig
from edgeclf.training.inputs.augment import Switches
from edgeclf.training.inputs.batches import TrainingBatches, TrainingImages
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_export.sources.weights import read_state
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
Edgeclf = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_the_curves_of_a_run_are_drawn(config: Make, data: DataSplit, plots: None, tmp_path: Path) -> None:
    run = train(config(head_epochs=1, epochs=1), data, tmp_path / "run")
    with Image.open(run.path / "curves.png") as drawn:
        assert drawn.size == (1100, 440)


@pytest.mark.parametrize("strategy", ["linear-probe", "two-phase", "discriminative", "full"])
def test_every_strategy_ends_in_a_whole_run(strategy: str, config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(strategy=strategy), data, tmp_path / "run")
    wanted = {"linear-probe": ["head"] * 2, "two-phase": ["head"] * 3 + ["network"] * 2}
    assert [line["phase"] for line in run.history()] == wanted.get(strategy, ["network"] * 2)
    outcome = run.outcome()
    assert outcome.data_sha256 == data.digest and outcome.training_images == len(data.of("train"))
    assert run.architecture().labels == ("blue", "green", "red")
    names = {path.name for path in run.path.iterdir()}
    assert {
        "config.json",
        "split.json",
        "network.json",
        "model.json",
        "model.safetensors",
        "history.jsonl",
        "curves.png",
    } <= names
    asked = config(strategy=strategy)
    assert run.config() == (replace(asked, lr=asked.peak_lr) if asked.trains_at_one_rate else asked)


def test_a_training_learns(config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(strategy="full", epochs=12, lr=3e-3, label_smoothing=0.0), data, tmp_path / "run")
    losses = [line["train_loss"] for line in run.history()]
    assert losses[-1] < 0.5 * losses[0]
    assert run.outcome().scores["val_top1"] >= 0.8


def test_a_linear_probe_leaves_the_backbone_as_it_was(config: Make, data: DataSplit, tmp_path: Path) -> None:
    from edgeclf_export.sources.trained import load_for_training

    chosen = config(strategy="linear-probe")
    _, before = load_for_training("test_resnet", "random", labels=data.classes, img_size=32, seed=0)
    after = train(chosen, data, tmp_path / "run").weights()
    changed = {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_two_trainings_with_one_seed_are_one_and_with_another_are_not(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    short = config(head_epochs=1, epochs=1)
    first = train(short, data, tmp_path / "a").weights()
    second = train(short, data, tmp_path / "b").weights()
    third = train(replace(short, seed=1), data, tmp_path / "c").weights()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.check),
        {"optimizer": "sgd", "schedule": "onecycle", "ema": 0.9, "augment": "strong"},
    ],
)
def test_an_interrupted_training_goes_on_bit_for_bit(
    changes: dict[str, Any], config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    chosen = config(head_epochs=2, **changes)
    whole = train(chosen, data, tmp_path / "whole")
    for stop_after in (1, 3):  # in the head's phase, and in the network's
        place = tmp_path / f"parts-{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            train(chosen, data, place, recorder(stop_after=stop_after))
        assert not Run(place).finished
        parts = resume(place)
        wanted, found = whole.weights(), parts.weights()
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
        figures = ("phase", "epoch", "lr", "train_loss", "val_loss", "val_top1")
        assert [[line[f] for f in figures] for line in parts.history()] == [
            [line[f] for f in figures] for line in whole.history()
        ]


def test_kill_9_leaves_a_run_that_resumes_to_the_same_weights(config: Make, data: DataSplit, tmp_path: Path) -> None:
    longer = config(strategy="full", epochs=6)
    whole = train(longer, data, tmp_path / "whole")
    script = (
        "import sys, json; from pathlib import Path\n"
        "from edgeclf.data.split_file import load_split\n"
        "from edgeclf.training.run.run import Run\n"
        "from edgeclf.training.train import train\n"
        "train(Run(Path(sys.argv[1])).config(), load_split(Path(sys.argv[1]) / 'split.json'), Path(sys.argv[2]))\n"
    )
    killed = tmp_path / "killed"
    process = start_script(script, str(whole.path), str(killed), cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (killed / "history.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not Run(killed).finished
    found = resume(killed).weights()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.weights().items())


def test_a_second_run_into_one_folder_and_a_finished_one_are_refused(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    train(config(strategy="linear-probe"), data, tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run"):
        train(config(), data, tmp_path / "run")
    with pytest.raises(UsageError, match="has ended"):
        resume(tmp_path / "run")
    with pytest.raises(DataError, match="no run"):
        resume(tmp_path / "nothing")


def test_a_loss_that_is_not_a_number_stops_the_training_and_keeps_the_last_good_epoch(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match="--lr"):
        train(config(strategy="full", lr=1e30, clip=0.0, optimizer="sgd", epochs=5), data, tmp_path / "run")
    kept = read_state(tmp_path / "run" / "checkpoint" / "tensors.safetensors")
    assert all(torch.isfinite(tensor.float()).all() for name, tensor in kept.items() if name.startswith("weights/"))


def test_a_dead_worker_ends_the_training_without_a_hang(
    config: Make, data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf.training.inputs import batches

    main = os.getpid()
    decode = batches.decode

    def die(*arguments: Any, **options: Any) -> Any:
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(*arguments, **options)

    monkeypatch.setattr(batches, "decode", die)
    with pytest.raises(BackendError, match="worker died"):
        train(config(strategy="full", workers=1, image_cache="off"), data, tmp_path / "run")


def test_weights_of_other_classes_start_a_training_with_a_fresh_head(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from edgeclf_runtime.backends.torch_module import Builder, build_module

    torch.manual_seed(5)
    trained = build_module(Builder("timm", "test_resnet", {"num_classes": 11})).state_dict()
    save_file(trained, tmp_path / "eleven.safetensors")
    run = train(config(weights=str(tmp_path / "eleven.safetensors"), strategy="linear-probe"), data, tmp_path / "run")
    found = run.weights()
    assert found["fc.weight"].shape[0] == 3
    assert torch.equal(
        found["conv1.0.weight"] if "conv1.0.weight" in found else found["conv1.weight"],
        trained["conv1.0.weight"] if "conv1.0.weight" in trained else trained["conv1.weight"],
    )


def test_weights_of_another_backbone_are_refused_with_the_difference(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    save_file({"stem.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="not of test_resnet"):
        train(config(weights=str(tmp_path / "other.safetensors")), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_exports_to_a_bundle_that_knows_where_it_comes_from(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from edgeclf_export.exporter import export
    from edgeclf_export.options import ExportOptions
    from edgeclf_runtime.bundle.bundle import Bundle

    run = train(config(strategy="full", epochs=1), data, tmp_path / "run")
    exported = list(export(run.exportable(), ExportOptions(output=tmp_path / "bundles")))
    manifest = Bundle.open(exported[0].path).manifest
    assert exported[0].proof.verdict != "fail" and exported[0].proof.images_source.startswith("the run's validation")
    assert manifest.labels == data.classes and manifest.provenance.run == "run"
    assert manifest.provenance.data_sha256 == data.digest and manifest.provenance.training_seconds
    assert manifest.temperature == run.outcome().temperature


def test_the_datas_own_statistics_reach_the_graph(config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(normalize="data", strategy="linear-probe"), data, tmp_path / "run")
    mean = run.architecture().normalization.mean
    assert mean != (0.485, 0.456, 0.406) and all(0.3 < value < 0.6 for value in mean)
    assert run.exportable().normalization.mean == mean


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "focal"},
        {"class_weights": "balanced"},
        {"sampler": "weighted"},
        {"schedule": "plateau", "epochs": 2},
        {"layer_decay": 0.7, "strategy": "discriminative"},
        {"accumulate": 2},
        {"amp": "bf16"},
        {"channels_last": False},
        {"patience": 1, "epochs": 4},
        {"optimizer": "sgd", "momentum": 0.0, "warmup_epochs": 0.0},
    ],
)
def test_every_option_trains(changes: dict[str, Any], config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(**{"strategy": "full", "epochs": 1, **changes}), data, tmp_path / "run")
    assert run.finished and all(np.isfinite(line["train_loss"]) for line in run.history())


def test_early_stopping_stops(config: Make, data: DataSplit, tmp_path: Path) -> None:
    run = train(config(strategy="full", lr=1e-12, epochs=9, patience=2), data, tmp_path / "run")
    assert len(run.history()) < 9


def test_a_weighted_sampler_shows_every_class_as_often(data: DataSplit) -> None:
    few = [item for item in data.of("train") if item.label != "red"] + [
        item for item in data.of("train") if item.label == "red"
    ][:1]
    images = TrainingImages.of(replace(data, images=tuple(few)), "train")
    drawn = np.concatenate([images.labels[images.order(seed, weighted=True)] for seed in range(200)])
    assert np.allclose(np.bincount(drawn) / len(drawn), 1 / 3, atol=0.05)


def test_every_image_is_seen_once_an_epoch_in_a_new_order(data: DataSplit) -> None:
    images = TrainingImages.of(data, "train")
    orders = [images.order(seed, weighted=False) for seed in (1, 2)]
    assert all(sorted(order) == list(range(len(images))) for order in orders)
    assert not np.array_equal(*orders)


def test_a_last_batch_of_one_image_is_left_out(data: DataSplit) -> None:
    images = TrainingImages.of(data, "train")
    size = len(images) - 1
    batches = TrainingBatches(images, None, None, batch_size=size, seed=0, weighted=False, workers=0)  # type: ignore[arg-type]
    assert len(batches) == 1


def test_risky_choices_are_warned_of(config: Make, data: DataSplit, recorder: Any, tmp_path: Path) -> None:
    progress = recorder()
    both = {"class_weights": "balanced", "sampler": "weighted"}
    train(config(strategy="full", epochs=1, **both), data, tmp_path / "scratch", progress)
    assert any("from scratch" in text for text in progress.warnings)
    assert any("counts the rare classes twice: choose one" in text for text in progress.warnings)
    weights = tmp_path / "scratch" / "model.safetensors"
    progress = recorder()
    train(config(strategy="full", epochs=1, lr=1e-2, weights=str(weights)), data, tmp_path / "fast", progress)
    assert any("0.01 for a pretrained backbone" in text for text in progress.warnings)
    assert any("parameters" in text for text in progress.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "half"}, "no strategy 'half'"),
        ({"epochs": 0}, "at least 1"),
        ({"drop": 1.0}, "drop"),
        ({"augment": "wild"}, "none, light, standard, strong"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"logger": "csv"}, "none, tensorboard"),
        ({"strategy": "full", "head_epochs": 3}, "for the strategy two-phase"),
    ],
)
def test_bad_choices_are_usage_errors(
    changes: dict[str, Any], message: str, config: Make, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(config(**changes), data, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_no_fallback(config: Make, data: DataSplit, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cuda"):
        train(config(device="cuda"), data, tmp_path / "run")


def test_train_trains_resumes_and_prints_json(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", str(discs), "-m", "test_resnet", "--weights", "random"]
    command += ["--img-size", "32", "--strategy", "linear-probe", "--epochs", "2", "--name", "discs", "--json"]
    command += ["--workers", "0"]
    assert cli_run(command) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1 and len(document["epochs"]) == 2
    assert cli_run(command) == 2
    again = capsys.readouterr().err
    assert again.strip().count("\n") == 0
    assert "holds a run whose training has ended; choose another --name" in again


def test_pretrained_batch_norm_keeps_its_statistics_on_little_data(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    start = train(config(strategy="full", epochs=1), data, tmp_path / "start")
    pretrained = config(strategy="full", epochs=1, weights=str(start.path / "model.safetensors"))
    for batch_norm, moves in (("auto", False), ("freeze", False), ("learn", True)):
        run = train(replace(pretrained, batch_norm=batch_norm), data, tmp_path / batch_norm)
        before, after = start.weights(), run.weights()
        moved = [
            name for name in before if name.endswith("running_mean") and not torch.equal(before[name], after[name])
        ]
        assert bool(moved) == moves
        assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


def test_resume_takes_no_other_options(edgeclf: Edgeclf) -> None:
    done = edgeclf("train", "--resume", "runs/x", "--epochs", "20")
    assert done.returncode == 2 and b"leave out --epochs" in done.stderr


def test_options_of_a_config_file_are_in_the_runs_config(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "model = 'test_resnet'\nweights = 'random'\nimg-size = 32\nstrategy = 'linear-probe'\nepochs = 9"
    file = tmp_path / "edge.toml"
    file.write_text(f"[train]\ndata = '{discs}'\n{options}\nseed = 3\nhflip = false\nname = 'filed'\nworkers = 0")
    assert cli_run(["train", "--config", str(file), "--epochs", "1"]) == 0
    config = json.loads((tmp_path / "runs" / "filed" / "config.json").read_text())
    assert (config["img_size"], config["seed"], config["epochs"]) == (32, 3, 1)
    assert config["switches"]["hflip"] is False


def test_a_taken_name_is_reported_before_the_data_are_read_and_without_advice_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "config.json").write_text("{}")
    assert cli_run(["train", "missing", "-m", "test_resnet", "--name", "taken"]) == 2
    stderr = capsys.readouterr().err
    assert "runs/taken holds a run" in stderr and "go on with:" not in stderr


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"strategy": "linear-probe", "mixup": 0.4}, "--mixup has no effect with --strategy linear-probe"),
        ({"strategy": "linear-probe", "switches": Switches(rotate=10)}, "such as --rotate has no effect"),
        (
            {"strategy": "linear-probe", "augment": "strong"},
            "--augment strong has no effect with --strategy linear-probe",
        ),
        (
            {"strategy": "linear-probe", "batch_norm": "learn"},
            "--batch-norm learn has no effect with --strategy linear",
        ),
        ({"lr": 1e-4, "head_lr": 1e-2}, "--head-lr has no effect beside --lr with --strategy full"),
        ({"focal_gamma": 3.0}, "--focal-gamma has no effect without --loss focal"),
        ({"schedule": "plateau", "warmup_epochs": 2.0}, "--warmup-epochs has no effect with --schedule plateau"),
    ],
)
def test_an_option_without_effect_is_warned_of(
    changes: dict[str, Any], option: str, config: Make, data: DataSplit, recorder: Any
) -> None:
    progress = recorder()
    warn_of_risks(config(**{"strategy": "full", "augment": "standard", **changes}), data, progress)
    (found,) = (warning for warning in progress.warnings if "no effect" in warning)
    assert option in found


def test_options_that_have_an_effect_are_not_warned_of(config: Make, data: DataSplit, recorder: Any) -> None:
    progress = recorder()
    warn_of_risks(config(strategy="linear-probe", augment="standard", lr=1e-3), data, progress)
    warn_of_risks(config(augment="strong", batch_norm="learn", lr=1e-4, head_lr=1e-2, mixup=0.1), data, progress)
    assert not [warning for warning in progress.warnings if "no effect" in warning]


def test_a_training_warns_as_it_begins(config: Make, data: DataSplit, recorder: Any, tmp_path: Path) -> None:
    progress = recorder(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(config(strategy="linear-probe", mixup=0.4), data, tmp_path / "run", progress)
    assert any("--mixup has no effect with --strategy linear-probe" in warning for warning in progress.warnings)
