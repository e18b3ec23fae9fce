"""What learning through Q/DQ has reached, in memory and in a file: weights, Adam's moments, steps and seconds."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError, UsageError, one_line

if TYPE_CHECKING:
    import torch

    from edgeclf_export.quantize.learning.torch_graph import TorchGraph

_Arrays = dict[str, NDArray[np.float32]]
_MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names for Adam's


@dataclass(frozen=True)
class LearningState:
    """Weights by their names in the float graph, both moments of each, and what it took to get there."""

    weights: _Arrays
    moments: tuple[_Arrays, _Arrays]
    steps: int
    seconds: float

    @classmethod
    def of(cls, student: TorchGraph, optimizer: torch.optim.Optimizer, steps: int, seconds: float) -> LearningState:
        known = {name: optimizer.state.get(each, {}) for name, each in student.parameters.items()}
        first, second = (
            {name: state[moment].numpy().copy() for name, state in known.items() if moment in state}
            for moment in _MOMENTS
        )
        return cls(student.weights(), (first, second), steps, seconds)

    def restore(self, student: TorchGraph, optimizer: torch.optim.Optimizer) -> None:
        """Puts a student and its optimizer where they were."""
        import torch

        student.load(self.weights)
        for name, parameter in student.parameters.items():
            if name in self.moments[0]:
                values = (torch.from_numpy(moment[name].copy()) for moment in self.moments)
                state = {"step": torch.tensor(float(self.steps)), **dict(zip(_MOMENTS, values, strict=True))}
                optimizer.state[parameter] = state


def save_state(file: Path, key: str, state: LearningState) -> None:
    """Writes the file, whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {f"weights/{name}": value for name, value in state.weights.items()}
    for moment, values in zip(_MOMENTS, state.moments, strict=True):
        arrays |= {f"{moment}/{name}": value for name, value in values.items()}
    arrays |= {"key": np.array(key), "steps": np.array(state.steps), "seconds": np.array(state.seconds)}
    with writing(file, force=True) as draft, draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_state(file: Path, key: str) -> LearningState | None:
    """What an interrupted learning has left; None: nothing was.

    Raises UsageError for a file of another network, other images or options, DataError for a damaged one.
    """
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            stored = {name: found[name] for name in found.files}
        of_key, steps, seconds = str(stored.pop("key")), int(stored.pop("steps")), float(stored.pop("seconds"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is damaged ({one_line(error)}); leave out --resume to start anew") from error
    if of_key != key:
        raise UsageError(
            f"{file} was learned by another network, on other images or with other options; leave out --resume to "
            "start anew"
        )
    parts = [
        {name.partition("/")[2]: value for name, value in stored.items() if name.startswith(f"{part}/")}
        for part in ("weights", *_MOMENTS)
    ]
    return LearningState(parts[0], (parts[1], parts[2]), steps, seconds)
