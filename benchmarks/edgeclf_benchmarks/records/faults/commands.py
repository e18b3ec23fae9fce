"""The commands that faults are tried on, what each writes, and when that is whole."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edgeclf_benchmarks.measuring.report import read_report
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.verify import verify

DATA, NETWORK, OTHER_NETWORK, LABELS, OUT = "data", "network.onnx", "other.onnx", "labels.txt", "out"
BUNDLE, REPORT = "made/net-onnx-fp32", "made/report.json"
CLIP, ENCODER, KEY = "clip", "made/small-image-onnx-fp32", "secret.key"
COLOURS = {"blue": (30, 60, 230), "green": (20, 200, 60), "red": (220, 30, 40)}
IMAGES, SIDE = 12, 16
_TRAINING = ("-m", "test_resnet", "--weights", "random", "--img-size", "32", "--epochs", "2", "--batch-size", "8")
_EXPORT = ("export", NETWORK, "-t", "onnx", "-o", OUT, "--name", "net", "--labels", LABELS, "--img-size", str(SIDE))


@dataclass(frozen=True, slots=True)
class Work:
    """A command and what it writes.

    Attributes
    ----------
    output
        A file or a folder, relative to the folder in which it runs.
    check
        Raises where what lies at the output is not whole.
    resume
        The command that goes on with an interrupted run; (): the same command again.
    begun
        The name of the run, a copy of which this command goes on with.
    kills
        How many of 200.
    """

    name: str
    arguments: tuple[str, ...]
    output: str
    check: Callable[[Path], None]
    kills: int
    resume: tuple[str, ...] = ()
    begun: str | None = None

    @property
    def replaces(self) -> bool:
        """Whether --force replaces what is there; a run is never replaced."""
        return not self.resume


def export_command(folder: str = OUT) -> tuple[str, ...]:
    normalization = ("--mean", "0,0,0", "--std", "1,1,1")
    return (*(folder if word == OUT else word for word in _EXPORT), *normalization)


def works() -> tuple[Work, ...]:
    """All commands, with 200 kills between them."""
    calibrated = ("--precision", "int8", "--calib-data", DATA)
    return (
        Work("export onnx", export_command(), f"{OUT}/net-onnx-fp32", _check_bundle, 30),
        Work("export onnx int8", (*export_command(), *calibrated), f"{OUT}/net-onnx-int8", _check_bundle, 20),
        Work("pack", ("pack", BUNDLE, "-o", f"{OUT}/net.tar"), f"{OUT}/net.tar", _check_bundle, 20),
        _training("train", 24, "--workers", "0", "--strategy", "full"),
        _training("train with 2 workers", 16, "--workers", "2", "--strategy", "full"),
        _training("train a linear probe", 10, "--workers", "0", "--strategy", "linear-probe"),
        _resumed(20),
        Work("adapt", _adapt(), f"{OUT}/adapted", _check_adaptation, 20, ("adapt", "--resume", f"{OUT}/adapted")),
        Work("bench", _bench(), f"{OUT}/report.json", _check_report, 4),
        Work("data split", ("data", "split", DATA, "-o", f"{OUT}/split.json"), f"{OUT}/split.json", _check_json, 8),
        Work("eval", ("eval", BUNDLE, DATA, "-o", f"{OUT}/eval"), f"{OUT}/eval", _check_evaluation, 6),
        Work("compare", ("compare", REPORT, "-o", f"{OUT}/page"), f"{OUT}/page", _check_page, 4),
        Work("baseline", ("baseline", DATA, "-o", OUT), f"{OUT}/data-hog-svm-fp32", _check_bundle, 6),
        Work("predict", _predict(), f"{OUT}/rows.csv", _check_rows, 4),
        Work("predict --collect", _collect(), f"{OUT}/kept", _check_collected, 8),
    )


def _training(name: str, kills: int, *options: str) -> Work:
    command = ("train", DATA, *_TRAINING, *options, "--name", "run")
    return Work(name, command, "runs/run", _check_run, kills, ("train", "--resume", "runs/run"))


def _resumed(kills: int) -> Work:
    go_on = ("train", "--resume", "runs/run")
    return Work("train --resume", go_on, "runs/run", _check_run, kills, go_on, begun="begun")


def _adapt() -> tuple[str, ...]:
    return ("adapt", DATA, *_TRAINING, "--workers", "0", "--embedding", "16", "-o", f"{OUT}/adapted")


def _bench() -> tuple[str, ...]:
    return ("bench", BUNDLE, "-o", f"{OUT}/report.json", "--rounds", "2", "--duration", "0.1", "--quick")


def _predict() -> tuple[str, ...]:
    return ("predict", BUNDLE, DATA, "--csv", f"{OUT}/rows.csv")


def _collect() -> tuple[str, ...]:
    return ("predict", BUNDLE, DATA, "--threshold", "0.99", "--collect", f"{OUT}/kept")


def _check_bundle(path: Path) -> None:
    bundle = Bundle.open(path)
    bundle.check_all()
    if (proof := verify(bundle)).verdict == "fail":
        raise ValueError(f"{path} does not verify: {proof.reasons[0]}")


def _check_run(path: Path) -> None:
    if not {"model.json", "model.safetensors", "history.jsonl", "split.json"} <= {each.name for each in path.iterdir()}:
        raise ValueError(f"{path} is not whole")
    _read(path / "model.json")


def _check_adaptation(path: Path) -> None:
    _read(path / "adapted.json")
    if not (path / "model.safetensors").is_file():
        raise ValueError(f"{path} is not whole")


def _check_report(path: Path) -> None:
    if not read_report(path).complete:
        raise ValueError(f"{path} is incomplete")


def _check_json(path: Path) -> None:
    _read(path)


def _check_evaluation(path: Path) -> None:
    _read(path / "report.json")
    if "</html>" not in (path / "report.html").read_text(encoding="utf-8"):
        raise ValueError(f"{path}: half a page")


_check_page = _check_evaluation  # files of the same names


def _check_rows(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        if (found := sum(1 for _ in csv.reader(file))) != 1 + len(COLOURS) * IMAGES:
            raise ValueError(f"{path} has {found} rows")


def _check_collected(path: Path) -> None:
    """Each image is whole and has its prediction; none need be there, as predictions go on where the disk is full."""
    for image in (each for each in path.iterdir() if each.suffix in (".jpg", ".png")):
        Image.open(image).load()
        _read(image.with_suffix(".json"))


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def results(path: Path) -> dict[str, Any]:
    """What an unbroken and a resumed training must have in common: weights by their hash, the history without times."""
    content = (path / "model.safetensors").read_bytes()
    tensors = content[8 + int.from_bytes(content[:8], "little") :]  # the header of adapted weights says when they ended
    lines = [json.loads(line) for line in (path / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    untimed = [{name: value for name, value in line.items() if not name.endswith(("_s", "seconds"))} for line in lines]
    return {"weights": hashlib.sha256(tensors).hexdigest(), "history": untimed}


def leftovers(folder: Path) -> Iterator[Path]:
    """Hidden folders of processes that were killed, at any depth."""
    return folder.rglob(".*.partial-*")


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
