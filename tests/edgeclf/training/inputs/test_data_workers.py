"""Data workers start beside whatever the process did before, and where they can't be forked."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from edgeclf.training.adaptation.views import TwoViews
from edgeclf.training.config import TrainConfig
from edgeclf.training.inputs import batches
from edgeclf.training.inputs.augment import RECIPES, Augmenter, Switches
from edgeclf.training.train import train
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session

Make = Callable[..., TrainConfig]
PIXELS = Pixels(resize="shorter", resize_px=(36, 36), crop_px=(32, 32), interpolation="bicubic")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_training_with_data_workers_ends_well_beside_an_engine_of_another_thread(
    target: str, config: Make, data: DataSplit, tmp_path: Path
) -> None:
    bundle, local = tiny.build(tmp_path / target, target), threading.local()

    def hold() -> None:
        local.session = open_session(bundle, SessionOptions(threads=8))
        local.session(tiny.random_pixels(1))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold).result()
        assert train(config(strategy="full", epochs=1, workers=1), data, tmp_path / "run").finished


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_augmenter_that_another_process_is_sent_does_the_same(recipe: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    senders: list[Any] = [Augmenter(recipe, Switches(rotate=20.0), PIXELS, seed=3), TwoViews(PIXELS, 3, vflip=True)]
    for sender in senders:
        assert np.array_equal(pickle.loads(pickle.dumps(sender))(image, 1, 2), sender(image, 1, 2))


@pytest.mark.slow  # a spawned worker imports torch
@pytest.mark.parametrize("mode", ["on", "off"])
def test_spawned_workers_train_to_the_same_weights(
    mode: str, config: Make, data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for start in ("fork", "spawn"):
        monkeypatch.setattr(batches, "START", start)
        chosen = config(strategy="full", epochs=2, workers=2, image_cache=mode, augment="strong")
        found[start] = train(chosen, data, tmp_path / start).weights()
    assert all(torch.equal(tensor, found["spawn"][name]) for name, tensor in found["fork"].items())


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError(), False), (EOFError(), False), (ValueError("x"), True)])
def test_a_worker_is_silent_about_a_batch_that_nobody_takes_any_more(
    error: Exception, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seen after Ctrl-C, in one of twelve runs of all tests: the thread of multiprocessing that hands batches over."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = signal.getsignal(signal.SIGTERM)
    try:
        batches._begin_worker(0)
        sys.excepthook(type(error), error, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert bool(capsys.readouterr().err) is told
