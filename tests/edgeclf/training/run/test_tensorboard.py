"""TensorBoard's event files hold the history's figures, once for each epoch, however often a training was resumed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.installing import pip_install

Make = Callable[..., TrainConfig]


def scalars(run: Run, name: str) -> list[tuple[int, float]]:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = accumulators.EventAccumulator(str(run.path / "tensorboard")).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def test_event_files_repeat_the_history_also_after_an_interruption(
    config: Make, data: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        train(config(logger="tensorboard"), data, tmp_path / "run", recorder(stop_after=4))
    run = resume(tmp_path / "run")
    history = run.history()
    for key, name in (("train_loss", "loss/train"), ("val_top1", "val/top-1"), ("lr", "lr")):
        wanted = [(step, pytest.approx(line[key], rel=1e-5)) for step, line in enumerate(history, 1)]
        assert scalars(run, name) == wanted


def test_a_missing_tensorboard_is_reported_before_anything_is_made(
    config: Make, data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(BackendError, match=re.escape(pip_install("tensorboard"))):
        train(config(logger="tensorboard"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
