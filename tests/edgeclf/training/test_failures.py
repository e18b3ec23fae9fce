"""What ends a training before its time: signals, full memory, files that vanish; and what the run keeps then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from warm_process import Started, start_edgeclf, start_script

from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.loop.network import Network
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
_FULL = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ..."


def start_training(folder: Path, source: Path, *options: str, alone: bool = False) -> Started:
    """A training of many epochs in a process (`alone`: a process group) of its own, after its second epoch."""
    command = ["train", str(source), "-m", "test_resnet", "--weights", "random"]
    command += ["--img-size", "32", "--strategy", "full", "--epochs", "500", "--name", "long", *options]
    process = start_edgeclf(command, cwd=folder, alone=alone)
    history = folder / "runs" / "long" / "history.jsonl"
    deadline = time.monotonic() + 90
    while not (history.exists() and history.read_text().count("\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signal.SIGINT, 130, "1"),
        (signal.SIGTERM, 143, "0"),
        pytest.param(signal.SIGINT, 130, "0", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, "1", marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_a_checkpoint_and_the_command_that_goes_on(
    number: signal.Signals, code: int, workers: str, discs: Path, tmp_path: Path
) -> None:
    process = start_training(tmp_path, discs, "--workers", workers)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "go on with: edgeclf train --resume runs/long" in stderr and "Traceback" not in stderr
    run = Run.open(tmp_path / "runs" / "long")
    kept = len(run.history())
    assert not run.finished and kept >= 2 and (run.path / "checkpoint" / "state.json").exists()


def test_a_second_ctrl_c_ends_a_process_that_still_winds_down(discs: Path, tmp_path: Path) -> None:
    process = start_training(tmp_path, discs, "--workers", "1")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)


def test_kill_9_while_a_checkpoint_is_written_leaves_the_one_before(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    chosen = config(strategy="full", epochs=4)
    whole = train(chosen, data, tmp_path / "whole")
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from edgeclf.data.split_file import load_split\n"
        "from edgeclf.training.run import checkpoint\n"
        "from edgeclf.training.run.run import Run\n"
        "from edgeclf.training.train import train\n"
        "saved, save = [], checkpoint.save_tensors\n"
        "def die_in_the_third(tensors, path):\n"
        "    save(tensors, path)\n"
        "    saved.append(path)\n"
        "    if len(saved) == 3:\n"
        "        path.write_bytes(path.read_bytes()[:1000])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save_tensors = die_in_the_third\n"
        "whole = Path(sys.argv[1])\n"
        "train(Run(whole).config(), load_split(whole / 'split.json'), Path(sys.argv[2]))\n"
    )
    killed = tmp_path / "killed"
    started = start_script(script, str(whole.path), str(killed), cwd=tmp_path)
    started.communicate()
    assert started.returncode == -signal.SIGKILL and list(killed.glob(".checkpoint.partial-*"))
    found = resume(killed).weights()
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.weights().items())


def test_a_file_that_is_deleted_while_the_training_runs_is_named(
    config: Make, discs: Path, recorder: Any, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(discs, tmp_path / "images"))
    split = open_data(folder)
    gone = split.of("train")[0].path

    class Deleter(recorder):  # type: ignore[misc]
        def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
            if figures is not None:  # an epoch has ended
                gone.unlink(missing_ok=True)

    with pytest.raises(DataError, match=f"{gone.name}.*it was there when its SHA-256 was taken"):
        train(config(strategy="full", epochs=3, image_cache="off"), split, tmp_path / "run", Deleter())
    assert len(Run(tmp_path / "run").history()) == 1
    progress = recorder()
    ended = resume(tmp_path / "run", progress)  # what the command line names as the next step
    assert ended.finished and [each.path for each in ended.left_out()] == [f"{gone.parent.name}/{gone.name}"]
    assert any("1 of 36 images can't be used" in text and "missing" in text for text in progress.warnings)
    assert len(ended.exportable().data.split.of("train")) == len(split.of("train")) - 1  # type: ignore[union-attr]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the network run out of memory with more than so many images, with the error of torch's CPU allocator."""

    def hold_to(most: int) -> None:
        call = Network.__call__

        def limited(network: Network, images: torch.Tensor) -> torch.Tensor:
            if len(images) > most:
                raise RuntimeError(_FULL)
            return call(network, images)

        monkeypatch.setattr(Network, "__call__", limited)

    return hold_to


def test_out_of_memory_goes_on_with_smaller_parts_of_the_same_batch(
    small_memory: Callable[[int], None], config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    """BatchNorm is frozen here, so that the parts of a batch learn what the whole batch does."""
    chosen = config(strategy="full", epochs=2, batch_norm="freeze", drop=0.0)
    wanted = train(chosen, data, tmp_path / "whole").weights()
    small_memory(3)
    progress = recorder()
    found = train(chosen, data, tmp_path / "parts", progress).weights()
    assert [
        text.removeprefix("out of memory ").partition(",")[0] for text in progress.warnings if "memory" in text
    ] == [
        "with 8 images at a time; going on with 4",
        "with 4 images at a time; going on with 2",
    ]
    assert all(torch.allclose(wanted[name].float(), found[name].float(), atol=1e-4) for name in wanted)


def test_out_of_memory_with_two_images_says_what_to_try(
    small_memory: Callable[[int], None], config: Make, data: DataSplit, tmp_path: Path
) -> None:
    small_memory(1)
    with pytest.raises(BackendError, match="2 images at a time; try a smaller --img-size") as caught:
        train(config(strategy="full"), data, tmp_path / "run")
    assert caught.value.exit_code == 4


def test_a_device_without_memory_is_recognised() -> None:
    from edgeclf.training.loop.device import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 56, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("GET was unable to find an engine to execute this computation"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_training_that_diverges_after_good_epochs_is_a_whole_run_of_the_best(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    chosen = config(strategy="two-phase", lr=1e30, clip=0.0, optimizer="sgd", epochs=3)
    with pytest.raises(GateError, match=r"--clip-grad 1.*keeps the best epoch before"):
        train(chosen, data, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.finished and run.outcome().best_epoch <= 3
    assert all(torch.isfinite(tensor.float()).all() for tensor in run.weights().values())
    assert run.exportable().labels == data.classes


def test_a_network_whose_outputs_are_not_numbers_is_never_kept(config: Make, data: DataSplit, tmp_path: Path) -> None:
    """One batch an epoch: the loss is seen before the step that ruins the weights."""
    ruinous = config(strategy="full", lr=1e38, clip=0.0, optimizer="sgd", epochs=1, batch_size=64)
    with pytest.raises(GateError, match="lower --lr"):
        train(ruinous, data, tmp_path / "run")
    assert not Run(tmp_path / "run").finished


def test_batch_norm_does_not_learn_from_a_single_image(config: Make, data: DataSplit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch-size 2 or more"):
        train(config(strategy="full", batch_size=1), data, tmp_path / "run")
    assert train(config(strategy="full", batch_size=1, batch_norm="freeze", epochs=1), data, tmp_path / "run").finished


def test_the_newest_run_is_the_one_that_was_trained_last(config: Make, data: DataSplit, tmp_path: Path) -> None:
    first = train(config(strategy="linear-probe"), data, tmp_path / "first")
    tomorrow = time.time() + 86_400  # the clock is set back after it
    os.utime(first.path / "model.safetensors", (tomorrow, tomorrow))
    train(config(strategy="linear-probe"), data, tmp_path / "second")
    first.write_json("model.json", first.read_json("model.json"))  # as an operating point does
    assert Run.newest(tmp_path).name == "second"


def test_a_class_without_training_images_is_refused_and_copies_across_splits_are_warned_of(
    config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    lacking = replace(data, images=tuple(i for i in data.images if not (i.label == "red" and i.split == "train")))
    with pytest.raises(DataError, match="classes that train lacks: 'red'"):
        train(config(), lacking, tmp_path / "run")
    twin = replace(data.of("val")[0], name="blue/twin.png", sha256=data.of("train")[0].sha256)
    progress = recorder()
    doubled = replace(data, images=(*data.images[:0], *data.of("train"), *data.of("val"), replace(twin, split="test")))
    train(config(strategy="linear-probe"), doubled, tmp_path / "run", progress)
    assert any("2 images lie in more than one split" in text for text in progress.warnings)


def test_sigterm_to_all_processes_of_a_training_ends_it_as_sigterm_to_the_first_does(
    discs: Path, tmp_path: Path
) -> None:
    process = start_training(tmp_path, discs, "--workers", "2", alone=True)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143 and stderr.splitlines()[-1] == "edgeclf: terminated"
    assert "go on with: edgeclf train --resume runs/long" in stderr and "Traceback" not in stderr
    assert len(Run.open(tmp_path / "runs" / "long").history()) >= 2
