"""Several processes train what one does; where one dies, the others end too and the last epoch is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from warm_process import Started, start_script

from edgeclf.data.split_file import load_split, save_split
from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import Processes, joined
from edgeclf.training.loop.network import Network
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]
# a batch of 7 is 4 and 3 images, the last one of 24 has 3: 2 and 1; no BatchNorm, and no dropout: drawn by process
EXACT: dict[str, dict[str, Any]] = {
    "plain": {"strategy": "full", "weight_decay": 0.1},
    "two phases, class weights": {"class_weights": "balanced", "sampler": "weighted", "ema": 0.9, "head_epochs": 2},
    "summed batches": {"strategy": "full", "accumulate": 2, "clip": 0.1, "schedule": "plateau", "loss": "focal"},
    "discriminative": {"strategy": "discriminative", "optimizer": "sgd", "label_smoothing": 0.0, "amp": "bf16"},
}
TAUGHT: dict[str, dict[str, Any]] = {
    "taught": {"head_epochs": 1, "epochs": 1, "class_weights": "balanced"},
    "taught by views": {"strategy": "full", "epochs": 1, "teacher_views": "consistent"},
}
# of imbalanced data: 8, 8 and 3 images of the classes
WEIGHTED: dict[str, dict[str, Any]] = {
    "class weights": {"strategy": "full", "epochs": 1, "class_weights": "balanced"},
    "summed batches, class weights": {
        "strategy": "full",
        "epochs": 1,
        "accumulate": 2,
        "class_weights": "balanced",
        "loss": "focal",
    },
}
# where images have several labels
LABELLED: dict[str, dict[str, Any]] = {
    "labels, class weights": {
        "head_epochs": 2,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
        "sampler": "weighted",
    },
    "labels, asymmetric": {"strategy": "full", "loss": "asymmetric", "accumulate": 2},
}
# what the others combine, once more
RARE = {"taught by views", "summed batches, class weights"}
# and what two processes do in their own way, but again and again alike
OWN_WAY: dict[str, Any] = {"model": "test_resnet", "strategy": "full", "drop": 0.5, "ema": 0.9, "augment": "strong"}
SCRIPT = """
import json, sys
from pathlib import Path
from edgeclf.data.split_file import load_split
from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import joined
import edgeclf.training.result as result
import edgeclf.training.train as training
from edgeclf_runtime.bundle.dataclass_json import from_json
from edgeclf_runtime.progress import SILENT, Progress

result.draw_curves = lambda history, path, **_: path.touch()  # the plot takes longer than the training

class Once(Progress):
    def note(self, sentence, figures=None):
        if figures is not None:
            raise KeyboardInterrupt

folder = Path(sys.argv[1])
with joined() as processes:
    for name, (split, wanted) in json.loads((folder / "configs.json").read_text()).items():
        data, config = load_split(folder / split, several_labels="known"), from_json(TrainConfig, wanted, name)
        training.train(config, data, folder / name, SILENT, processes)
        if name in ("plain", "own way"):
            try:
                training.train(config, data, folder / f"stopped {name}", Once(), processes)
            except KeyboardInterrupt:
                processes.wait()
    if name == "own way":
        training.resume(folder / f"stopped {name}", SILENT, processes)
"""


# torchrun's command line with processes that are forked: each would import torch for three seconds
FORKED = """
import sys
from torch.distributed.run import main
main(["--standalone", "--nproc-per-node", "2", "--start-method", "fork", "--run-path", *sys.argv[1:]])
"""
RANK = """
import os, sys
from pathlib import Path
from edgeclf.cli import main
Path("rank-" + os.environ["RANK"]).write_text(str(os.getpid()))
sys.argv[0] = "edgeclf"
main()
"""


def torchrun(*arguments: str, processes: int = 2, folder: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen([*command, *arguments], cwd=folder, text=True, stderr=subprocess.PIPE, **options)


def exact(**changes: Any) -> TrainConfig:
    quick: dict[str, Any] = {"model": "test_efficientnet_ln", "weights": "random", "img_size": 32, "epochs": 2}
    quick |= {"batch_size": 7, "workers": 0, "augment": "light", "device": "cpu", "drop": 0.0, "lr": 1e-3}
    return TrainConfig(**{**quick, **changes})


def train_together(trainings: dict[str, tuple[TrainConfig, DataSplit]], folder: Path, processes: int) -> None:
    """Runs the trainings in several processes, "plain" and "own way" also to the first epoch; the latter is resumed.

    The processes are told what torchrun tells them; that torchrun itself can start a training is tested below.
    """
    configs = {}
    for name, (config, data) in trainings.items():
        configs[name] = f"{name}.split.json", to_json(config)
        save_split(data, folder / configs[name][0])
    (folder / "configs.json").write_text(json.dumps(configs))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    place["LOCAL_WORLD_SIZE"] = place["WORLD_SIZE"]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    started = [start_script(SCRIPT, str(folder), cwd=folder, **place, **rank) for rank in ranks]
    errors = [each.communicate(timeout=600)[1] for each in started]
    assert [each.returncode for each in started] == [0] * processes, errors


def assert_same(several: Run, alone: Run, atol: float = 2e-5, figure: str = "val_top1") -> None:
    for name, near in (("lr", 1e-9), ("train_loss", 1e-4), ("val_loss", 1e-4), (figure, 1e-9)):
        found, wanted = ([line[name] for line in run.history()] for run in (several, alone))
        assert found == pytest.approx(wanted, rel=near, abs=near), name
    found, wanted = several.weights(), alone.weights()
    assert max(float((found[name].float() - wanted[name].float()).abs().max()) for name in wanted) < atol


@pytest.fixture(scope="module")
def lopsided(data: DataSplit) -> DataSplit:
    """With few images of the last class."""
    rare = [item for item in data.of("train") if item.label == data.classes[-1]][3:]
    return replace(data, images=tuple(item for item in data.images if item not in rare))


@pytest.fixture(scope="module")
def trained(
    data: DataSplit, lopsided: DataSplit, tags: DataSplit, teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], Path]:
    """The runs of two processes for those of EXACT, WEIGHTED, LABELLED, and with teachers, that are RARE, or are not.

    Beside those that are not, the run of OWN_WAY.
    """

    @cache
    def trained(rare: bool) -> Path:
        folder = tmp_path_factory.mktemp("two")
        trainings = {name: (exact(**changes), data) for name, changes in EXACT.items()}
        trainings |= {name: (exact(**changes), lopsided) for name, changes in WEIGHTED.items()}
        trainings |= {name: (exact(**changes), tags) for name, changes in LABELLED.items()}
        trainings |= {name: (replace(exact(**changes), teacher=str(teacher)), data) for name, changes in TAUGHT.items()}
        trainings = {name: each for name, each in trainings.items() if (name in RARE) == rare}
        train_together(trainings if rare else {**trainings, "own way": (exact(**OWN_WAY), data)}, folder, 2)
        return folder

    return trained


@pytest.fixture
def two(trained: Callable[[bool], Path], request: pytest.FixtureRequest) -> Path:
    """The folder with the run that this test looks at."""
    name = request.node.callspec.params["name"] if hasattr(request.node, "callspec") else "plain"
    return trained(name in RARE)


def often(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in RARE else []) for name in names]


@pytest.mark.parametrize("name", often(TAUGHT))
def test_two_processes_learn_from_a_teacher_what_one_does(
    name: str, two: Path, data: DataSplit, teacher: Path, tmp_path: Path
) -> None:
    run = Run.open(two / name)
    assert_same(run, train(replace(exact(**TAUGHT[name]), teacher=str(teacher)), data, tmp_path / "alone"))
    assert run.teacher() == Run.open(tmp_path / "alone").teacher()


@pytest.mark.parametrize("name", often(EXACT))
def test_two_processes_learn_what_one_does(name: str, two: Path, data: DataSplit, tmp_path: Path) -> None:
    assert_same(Run.open(two / name), train(exact(**EXACT[name]), data, tmp_path / "alone"))


@pytest.mark.parametrize("name", often(WEIGHTED))
def test_two_processes_weigh_rare_classes_as_one_does(
    name: str, two: Path, lopsided: DataSplit, tmp_path: Path
) -> None:
    """Whichever of the rare images each of them has in a batch."""
    assert_same(Run.open(two / name), train(exact(**WEIGHTED[name]), lopsided, tmp_path / "alone"))


@pytest.mark.parametrize("name", often(LABELLED))
def test_two_processes_learn_several_labels_as_one_does(name: str, two: Path, tags: DataSplit, tmp_path: Path) -> None:
    assert_same(Run.open(two / name), train(exact(**LABELLED[name]), tags, tmp_path / "alone"), figure="val_map")


def test_two_processes_go_on_bit_for_bit(two: Path) -> None:
    """Also with BatchNorm, dropout and mixed images, which each process draws for itself."""
    whole, parts = Run.open(two / "own way").weights(), Run.open(two / "stopped own way").weights()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_one_process_goes_on_where_two_stopped_and_says_so(two: Path, recorder: Any, tmp_path: Path) -> None:
    shutil.copytree(two / "stopped plain", tmp_path / "stopped")
    progress = recorder()
    run = resume(tmp_path / "stopped", progress)
    assert any("processes so far: 2, from here on: 1" in text for text in progress.warnings)
    assert_same(Run.open(two / "plain"), run)


def start_together(folder: Path, source: Path, *options: str, forked: bool = False) -> subprocess.Popen[str] | Started:
    """A long training in two processes, given back once its second epoch has ended; `forked`: by FORKED.

    It is no longer than a quarter of a minute: nothing ends it where pytest itself is killed.
    """
    command = ["train", str(source), "-m", "test_resnet", "--weights", "random", "--img-size", "32"]
    command += ["--strategy", "full", "--epochs", "100", "--batch-size", "8", "--name", "long", *options]
    started: subprocess.Popen[str] | Started
    if forked:
        (folder / "rank.py").write_text(RANK)
        started = start_script(FORKED, str(folder / "rank.py"), *command, cwd=folder)
    else:
        started = torchrun("-m", "edgeclf", *command, folder=folder, stdout=subprocess.PIPE)
    history = folder / "runs" / "long" / "history.jsonl"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") >= 2):
        assert started.poll() is None and time.monotonic() < deadline, started.communicate()
        time.sleep(0.02)
    return started


def process_of_rank(rank: int, parent: int) -> int:
    """The process id of one of torchrun's processes."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(rank)


def own_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("edgeclf: ")]


def assert_goes_on(folder: Path, stderr: str) -> None:
    """One line says what happened, one how to go on, and that works: the checkpoint and the history are whole."""
    assert stderr.count("go on with: edgeclf train --resume runs/long") == 1, stderr
    run = Run.open(folder / "runs" / "long")
    kept = len(run.history())
    assert not run.finished and kept >= 2
    run.write_json("config.json", {**run.read_json("config.json"), "epochs": kept + 1})
    assert len(resume(run.path).history()) == kept + 1


@pytest.mark.parametrize(
    ("rank", "forked"),
    [(0, True), pytest.param(0, False, marks=pytest.mark.slow), pytest.param(1, False, marks=pytest.mark.slow)],
)
def test_a_process_that_dies_ends_the_training_with_one_line_and_a_checkpoint(
    rank: int, forked: bool, discs: Path, tmp_path: Path
) -> None:
    started = start_together(tmp_path, discs, "--workers", "0", forked=forked)
    process = int((tmp_path / f"rank-{rank}").read_text()) if forked else process_of_rank(rank, started.pid)
    os.kill(process, signal.SIGKILL)
    stdout, stderr = started.communicate(timeout=90)
    assert started.returncode != 0 and stdout == ""
    (line,) = own_lines(stderr)
    assert "another process of this training has ended" in line
    assert_goes_on(tmp_path, stderr)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_leaves_a_checkpoint_and_the_command_that_goes_on(
    number: signal.Signals, workers: str, discs: Path, tmp_path: Path
) -> None:
    started = start_together(tmp_path, discs, "--workers", workers)
    started.send_signal(number)
    _, stderr = started.communicate(timeout=90)
    assert started.returncode != 0 and len(own_lines(stderr)) == 1
    assert_goes_on(tmp_path, stderr)


@pytest.mark.slow
def test_a_bad_image_in_the_share_of_one_process_is_left_out_by_all_and_named_once(
    data: DataSplit, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(data.root, tmp_path / "images"))
    save_split(replace(data, root=folder), tmp_path / "split.json")
    moved = load_split(tmp_path / "split.json")
    gone = moved.of("train")[-1].path
    gone.unlink()
    options = ["-m", "test_resnet", "--weights", "random", "--img-size", "32", "--workers", "0", "--json"]
    options += ["--strategy", "linear-probe", "--epochs", "1", "--name", "run"]
    started = torchrun("-m", "edgeclf", "train", "split.json", *options, folder=tmp_path, stdout=subprocess.PIPE)
    stdout, stderr = started.communicate(timeout=120)
    assert started.returncode == 0 and not own_lines(stderr) and stderr.count("1 of 36 images can't be used") == 1
    outcome = json.loads(stdout)["outcome"]
    assert outcome["training_images"] == len(moved.of("train")) - 1
    assert [Path(each.path).name for each in Run.open(tmp_path / "runs" / "run").left_out()] == [gone.name]


@pytest.mark.slow
def test_three_processes_learn_what_one_does_also_when_one_has_no_image(data: DataSplit, tmp_path: Path) -> None:
    """24 images in batches of 7 are shared as 3, 2, 2 and 1, 1, 1; in batches of 22 the last one is 1, 1, 0."""
    configs = {"seven": exact(strategy="full"), "twenty-two": exact(strategy="full", batch_size=22, ema=0.9)}
    train_together({name: (config, data) for name, config in configs.items()}, tmp_path, 3)
    for name, config in configs.items():
        assert_same(Run.open(tmp_path / name), train(config, data, tmp_path / f"{name} alone"))


@pytest.mark.slow
def test_batch_norm_on_cpus_learns_in_shares_and_says_so(discs: Path, tmp_path: Path) -> None:
    """MobileNetV3 from random weights: what it learns depends on the shares, that it learns does not."""
    options = ["-m", "mobilenetv3_small_050", "--weights", "random", "--img-size", "64", "--strategy", "full"]
    options += [
        "--epochs",
        "25",
        "--batch-size",
        "12",
        "--lr",
        "3e-3",
        "--augment",
        "light",
        "--workers",
        "0",
        "--json",
    ]
    started = torchrun("-m", "edgeclf", "train", str(discs), *options, folder=tmp_path, stdout=subprocess.PIPE)
    stdout, stderr = started.communicate(timeout=600)
    assert started.returncode == 0 and stderr.count("BatchNorm normalises each process's images by themselves") == 1
    epochs = json.loads(stdout)["epochs"]  # one document: the first process prints it
    assert epochs[-1]["train_loss"] < 0.7 * epochs[0]["train_loss"]
    assert max(line["val_top1"] for line in epochs) >= 0.8


def test_shares_are_in_order_whole_and_even() -> None:
    for count in (0, 1, 7, 24):
        parts = [list(range(count))[Processes(rank, 4).share(count)] for rank in range(4)]
        assert [each for part in parts for each in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"batch_size": 3}, 4, "4 processes can't share 3 images per step"),
        ({"batch_size": 12}, 7, "7 processes can't share 6 validation images"),
        ({"batch_size": 7, "model": "test_resnet"}, 4, "--batch-size 8 or more, or --batch-norm freeze"),
    ],
)
def test_shares_too_small_to_learn_from_leave_no_folder(
    changes: dict[str, Any],
    size: int,
    message: str,
    data: DataSplit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Processes, "totals", lambda _, *numbers: numbers)  # there are no others to talk to
    with pytest.raises(UsageError, match=message):
        train(exact(strategy="full", **changes), data, tmp_path / "run", processes=Processes(0, size))
    assert not (tmp_path / "run").exists()


def test_an_environment_that_names_no_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UsageError, match="RANK is not set"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "several")
    with pytest.raises(UsageError, match="whole numbers"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as processes:
        assert processes == Processes()


def test_synchronised_batch_norm_keeps_names_weights_and_outputs() -> None:
    from edgeclf_runtime.backends.torch_module import Builder, build_module

    module = build_module(Builder("timm", "test_efficientnet", {"num_classes": 3}))
    network = Network.of(module, 3, 0.0, 0)
    names, images = list(module.state_dict()), torch.rand(2, 3, 32, 32)
    wanted = module(images)
    network.sync_batch_norm()
    assert list(module.state_dict()) == names and torch.equal(module.eval()(images), wanted)
    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in module.modules())
