"""The loop of learning through Q/DQ: the quantized network is taught by the float one, for some minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize.learning.state import LearningState, load_state, save_state
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import torch

    from edgeclf_export.quantize.learning.torch_graph import Rounded, TorchGraph

RATE = 0.003  # of a parameter's unit a step: one rate for all is too small for some layers, too large for others
BATCH = 32  # images a step, where memory has room for so many
_WARM_UP = 0.2  # share of the time: at once, Adam's first steps threw small steps of all weights over their rounding
_DECAYS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam
_LEAST_VARIANCE = 1e-8  # of a tensor that teaches: one that is constant has none to divide by
_REPORTS = 100  # parts of the time that are shown as progress


@dataclass(frozen=True)
class Lesson:
    """What is learned from: (N, …) inputs as the graph takes them, and the float network's (N, classes) logits.

    Attributes
    ----------
    multi_label
        Each logit is a question of its own, answered by its sigmoid.
    layers
        Of inputs, the float network's tensors by their names, which teach, too: with them predictions came nearer in
        120 steps than by logits alone in 160 (EfficientNet-Lite0, 64 px). None: logits alone.
    """

    inputs: NDArray[np.generic]
    teacher: NDArray[np.float32]
    multi_label: bool = False
    layers: Callable[[NDArray[np.generic]], Mapping[str, NDArray[np.float32]]] | None = None

    def part(self, start: int, end: int | None) -> Lesson:
        """The images from `start` to `end`."""
        return replace(self, inputs=self.inputs[start:end], teacher=self.teacher[start:end])


@dataclass(frozen=True)
class Session:
    """For how long, on how many images a step, with which random seed, and the file that keeps what was learned.

    `batch`: at most as many as the lesson has.
    `key` names the network, the images and the options: a file of other ones is not gone on with.
    """

    minutes: float
    seed: int
    file: Path
    key: str
    batch: int = BATCH
    resume: bool = False
    clock: Callable[[], float] = time.monotonic


def learn(student: TorchGraph, lesson: Lesson, session: Session, progress: Progress) -> LearningState:
    """Trains `student` until the time is over; the divergence of its predictions from the teacher's falls.

    Steps of Adam with a rate that rises at first, and falls to 0 in half a cosine. What was done is left in the
    session's file, at the end and by a KeyboardInterrupt, so that nothing has to be learned twice. Raises UsageError
    where that is to be resumed and is of something else.
    """
    import torch

    units = [student.unit(name) for name in student.parameters]
    optimizer = torch.optim.Adam(
        [{"params": [each]} for each in student.parameters.values()], betas=_DECAYS, eps=_EPSILON
    )
    done = load_state(session.file, session.key) if session.resume else None
    steps, before = 0, 0.0
    if done is not None:
        done.restore(student, optimizer)
        steps, before = done.steps, done.seconds
        progress.note(f"{session.file}: learning goes on after {before / 60:.1f} of {session.minutes:g} min")
    whole, start, shown = 60 * session.minutes, session.clock(), 0
    progress.step("learning through Q/DQ", _REPORTS, seconds_left=max(whole - before, 0.0))
    used = before
    try:
        while used < whole:
            rate = RATE * min(1.0, used / whole / _WARM_UP) * (1 + np.cos(np.pi * used / whole)) / 2
            for group, unit in zip(optimizer.param_groups, units, strict=True):
                group["lr"] = rate * unit
            random = np.random.default_rng([session.seed, steps])
            _step(student, optimizer, lesson, random.choice(len(lesson.inputs), session.batch, replace=False))
            steps += 1
            used = before + session.clock() - start
            part = min(_REPORTS, int(_REPORTS * used / whole))
            if part > shown:
                progress.advance(part - shown)
                shown = part
        state = LearningState.of(student, optimizer, steps, used)
        save_state(session.file, session.key, state)
    except KeyboardInterrupt:
        state = LearningState.of(student, optimizer, steps, before + session.clock() - start)
        save_state(session.file, session.key, state)
        progress.warn(
            f"interrupted after {state.seconds / 60:.1f} of {session.minutes:g} min of learning, which are kept in "
            f"{session.file}: the same command with --resume goes on, without it learning starts anew"
        )
        raise
    return state


def _step(
    student: TorchGraph, optimizer: torch.optim.Optimizer, lesson: Lesson, chosen: NDArray[np.integer[Any]]
) -> None:
    """One step on the images with these numbers."""
    import torch
    from torch.nn import functional

    inputs, wanted = lesson.inputs[chosen], torch.from_numpy(lesson.teacher[chosen])
    found, rounded = student.run(torch.from_numpy(inputs))
    if lesson.multi_label:
        loss = functional.binary_cross_entropy_with_logits(found, wanted.sigmoid())
    else:
        loss = functional.kl_div(found.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean")
    if lesson.layers is not None:
        loss = loss + _mean_error(rounded, lesson.layers(inputs))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _mean_error(rounded: Mapping[str, Rounded], wanted: Mapping[str, NDArray[np.float32]]) -> torch.Tensor:
    """The squared error of each tensor against the float network's within its range, as a share of the variance."""
    import torch

    errors = []
    for name, values in wanted.items():
        within = torch.from_numpy(values).clamp(rounded[name].low, rounded[name].high)
        errors.append((rounded[name].value - within).square().mean() / within.var().clamp(min=_LEAST_VARIANCE))
    return torch.stack(errors).mean()
