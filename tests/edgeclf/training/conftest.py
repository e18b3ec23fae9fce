"""A data set that any network learns in seconds: discs of three colours on noise; and a tiny backbone for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import train
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import Progress

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny tensors on many threads spend their time waiting for each other; one thread's sums repeat bit for bit."""
    before = torch.get_num_threads()  # of each test: the PyTorch engine that a test opens sets it for the whole process
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # for the processes that tests start
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plot takes as long as the training of a tiny network: drawn in tests that use the fixture `plots` alone."""
    if "plots" not in request.fixturenames:
        monkeypatch.setattr("edgeclf.training.result.draw_curves", lambda history, path, **_: path.touch())
        monkeypatch.setattr("edgeclf.evaluation.plots.draw_plots", lambda *_: [])


@pytest.fixture
def plots() -> None:
    """What this test trains and evaluates in its own process has its plots."""


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images of 48x48 pixels in class folders."""
    folder = tmp_path_factory.mktemp("discs")
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(12):
            image = Image.fromarray(random.integers(90, 160, (48, 48, 3), dtype=np.uint8))
            x, y = random.integers(4, 14, 2)
            ImageDraw.Draw(image).ellipse((x, y, x + 28, y + 28), fill=colour)
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def data(discs: Path) -> DataSplit:
    return open_data(discs, seed=0)


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    """40 images of 48x48 pixels with discs of any of the three colours, or of none."""
    folder = tmp_path_factory.mktemp("tags")
    random = np.random.default_rng(0)
    rows = ["path,labels"]
    for number in range(40):
        image = Image.fromarray(random.integers(90, 160, (48, 48, 3), dtype=np.uint8))
        shown = [name for place, name in enumerate(COLOURS) if number >> place & 1]
        for name, (x, y) in zip(shown, random.permutation([(2, 2), (25, 5), (12, 26)]), strict=False):
            ImageDraw.Draw(image).ellipse((x, y, x + 20, y + 20), fill=COLOURS[name])
        image.save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'|'.join(shown)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")
    return open_data(folder / "tags.csv", seed=0, several_labels="known")


@pytest.fixture(scope="session")
def tagger(tags: DataSplit, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that knows the colours of tags."""
    quick: dict[str, Any] = {"model": "test_resnet", "weights": "random", "img_size": 32, "workers": 0, "device": "cpu"}
    quick |= {"strategy": "full", "epochs": 8, "lr": 3e-3, "batch_size": 8, "augment": "light", "drop": 0.0}
    return train(TrainConfig(**quick), tags, tmp_path_factory.mktemp("labels") / "run")


@pytest.fixture
def config() -> Callable[..., TrainConfig]:
    """A short training of timm's test network, with whatever a test changes."""

    def make(**changes: Any) -> TrainConfig:
        quick: dict[str, Any] = {"model": "test_resnet", "weights": "random", "img_size": 32, "epochs": 2}
        if changes.get("strategy", "two-phase") == "two-phase":
            quick["head_epochs"] = 3
        return TrainConfig(**{**quick, "batch_size": 8, "workers": 0, "augment": "light", "device": "cpu", **changes})

    return make


@pytest.fixture(scope="session")
def teacher(data: DataSplit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the discs, at 40 px."""
    quick: dict[str, Any] = {"model": "test_resnet", "weights": "random", "img_size": 40, "workers": 0, "device": "cpu"}
    quick |= {"strategy": "full", "epochs": 8, "lr": 3e-3, "batch_size": 8, "augment": "light", "label_smoothing": 0.0}
    return train(TrainConfig(**quick), data, tmp_path_factory.mktemp("teacher") / "teacher").path


class Recorder(Progress):
    """Keeps the notes and warnings of a training; raises KeyboardInterrupt after `stop_after` epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.epochs: list[dict[str, Any]] = []
        self._stop_after = stop_after

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        if figures is None:
            self.notes.append(sentence)
            return
        self.epochs.append(dict(figures))
        if len(self.epochs) == self._stop_after:
            raise KeyboardInterrupt


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder
