"""Checkpoints, from which a training resumes bit for bit: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import errno
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.errors import DataError

if TYPE_CHECKING:
    import torch

STATE, TENSORS = "state.json", "tensors.safetensors"


@dataclass(slots=True)
class Checkpoint:
    """The state between two epochs.

    `phase` and `epoch` are the next to run; `best` the weights with the best validation figure so far, `history` the
    records of all epochs. `optimizer` and `scheduler` are those of the current phase, None at its start. All of it is
    the same in each of the `processes` that trained.
    """

    phase: int
    epoch: int
    weights: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    best_score: float = -1.0
    best_epoch: int = 0
    stale_epochs: int = 0
    seconds: float = 0.0
    processes: int = 1
    history: list[dict[str, Any]] = field(default_factory=list)
    ema: dict[str, torch.Tensor] | None = None
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None

    @property
    def best_loss(self) -> float:
        """Validation loss of the best epoch so far, in nats."""
        return float(self.history[self.best_epoch - 1]["val_loss"]) if self.best_epoch else math.inf

    def end_epoch(self, record: dict[str, Any], seconds: float) -> None:
        """Counts one more epoch and adds its record."""
        self.epoch += 1
        self.seconds += seconds
        self.history.append(record)


_COUNTS = ("phase", "epoch", "best_score", "best_epoch", "stale_epochs", "seconds", "processes")
_PLAIN = (*_COUNTS, "history", "scheduler", "scaler")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces `folder` in one step: a kill leaves the old checkpoint or the new one, never half of one."""
    tensors = {f"weights/{name}": tensor for name, tensor in checkpoint.weights.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in checkpoint.best.items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in (checkpoint.ema or {}).items()}
    state: dict[str, Any] = {name: getattr(checkpoint, name) for name in _PLAIN}
    if checkpoint.optimizer is not None:
        moments = checkpoint.optimizer["state"]
        for number, values in moments.items():
            tensors |= {f"optimizer/{number}/{name}": tensor for name, tensor in values.items() if tensor is not None}
        state["parameter_groups"] = checkpoint.optimizer["param_groups"]
    with writing(folder, force=True) as draft:
        draft.mkdir()
        save_tensors(_apart(tensors), draft / TENSORS)
        (draft / STATE).write_text(json.dumps(state))


def _apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU, none in another's memory, which safetensors refuses; others, perhaps gigabytes, are not copied."""
    known: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        found = tensor.detach().cpu().contiguous()
        place = found.untyped_storage().data_ptr()
        apart[name] = found.clone() if place in known else found
        known.add(place)
    return apart


def save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file, with texts in its header. Raises OSError, as for a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Raises DataError where there is none, or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / TENSORS)
        state = parse_json((folder / STATE).read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder}: no checkpoint to go on from ({error})") from error
    parts: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "best": {}, "ema": {}}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    try:
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part == "optimizer":
                number, _, moment = rest.partition("/")
                moments.setdefault(int(number), {})[moment] = tensor
            else:
                parts[part][rest] = tensor
        groups = state.pop("parameter_groups", None)
        optimizer = None if groups is None else {"state": moments, "param_groups": groups}
        return Checkpoint(
            **state, weights=parts["weights"], best=parts["best"], ema=parts["ema"] or None, optimizer=optimizer
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{folder}: a checkpoint of another edgeclf ({error}); start a new run") from error


def copy_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The module's tensors, copied to the CPU."""
    return {name: _own(tensor) for name, tensor in module.state_dict().items()}


def _own(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().clone()
