"""A training's figures as TensorBoard event files, beside the history that they are drawn from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from edgeclf.training.run.figures import FIGURES
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install

FOLDER = "tensorboard"
_NAMES = {"train_loss": "loss/train", "val_loss": "loss/val", "lr": "lr", "images_per_s": "images_per_s"}
_NAMES |= {key: f"val/{name}" for key, name in FIGURES.items()}


class EventLog(Protocol):
    """Gets the record of each epoch; steps count the epochs of all phases from 1."""

    def add(self, record: dict[str, Any], step: int) -> None: ...
    def close(self) -> None: ...


class NoEventLog:
    def add(self, record: dict[str, Any], step: int) -> None: ...
    def close(self) -> None: ...


class TensorBoardLog:
    """Event files in a run's folder. What an interrupted training left is written anew from its history."""

    def __init__(self, run: Path, history: list[dict[str, Any]]) -> None:
        SummaryWriter = _summary_writer()
        shutil.rmtree(run / FOLDER, ignore_errors=True)
        self._writer = SummaryWriter(str(run / FOLDER))
        for step, record in enumerate(history, 1):
            self.add(record, step)

    def add(self, record: dict[str, Any], step: int) -> None:
        for key, name in _NAMES.items():
            if key in record:
                self._writer.add_scalar(name, record[key], step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def check_logger(logger: str) -> None:
    """Raises BackendError, with the line that installs it, where the logger's package is missing."""
    if logger == "tensorboard":
        _summary_writer()


def open_event_log(logger: str, run: Path, history: list[dict[str, Any]]) -> EventLog:
    return TensorBoardLog(run, history) if logger == "tensorboard" else NoEventLog()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BackendError(
            f"--logger tensorboard can't import it ({error}); install it with: {pip_install('tensorboard')}"
        ) from error
    return SummaryWriter
