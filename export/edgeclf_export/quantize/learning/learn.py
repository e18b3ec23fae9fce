"""The loop of learning through Q/DQ: the quantized network is taught by the float one, for some minutes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize.learning.state import LearningState, load_state, save_state
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import torch

    from edgeclf_export.quantize.learning.torch_graph import TorchGraph

RATE, BATCH = 1e-4, 32
_DECAYS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam
_REPORTS = 100  # parts of the time that are shown as progress


@dataclass(frozen=True)
class Lesson:
    """What is learned from: (N, …) inputs as the graph takes them, and the float network's (N, classes) logits.

    `multi_label`: each logit is a question of its own, answered by its sigmoid.
    """

    inputs: NDArray[np.generic]
    teacher: NDArray[np.float32]
    multi_label: bool = False

    def part(self, start: int, end: int | None) -> Lesson:
        """The images from `start` to `end`."""
        return Lesson(self.inputs[start:end], self.teacher[start:end], self.multi_label)


@dataclass(frozen=True)
class Session:
    """For how long, with which random seed, and the file that keeps what was learned.

    `key` names the network, the images and the options: a file of other ones is not gone on with.
    """

    minutes: float
    seed: int
    file: Path
    key: str
    resume: bool = False
    clock: Callable[[], float] = time.monotonic


def learn(student: TorchGraph, lesson: Lesson, session: Session, progress: Progress) -> LearningState:
    """Trains `student` until the time is over; the divergence of its predictions from the teacher's falls.

    Steps of Adam with a rate that falls to 0 in half a cosine. What was done is left in the session's file, at the end
    and by a KeyboardInterrupt, so that nothing has to be learned twice. Raises UsageError where that is to be resumed
    and is of something else.
    """
    import torch

    optimizer = torch.optim.Adam(student.parameters.values(), RATE, betas=_DECAYS, eps=_EPSILON)
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
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + np.cos(np.pi * used / whole)) / 2
            _step(student, optimizer, lesson, np.random.default_rng([session.seed, steps]))
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


def _step(student: TorchGraph, optimizer: torch.optim.Optimizer, lesson: Lesson, random: np.random.Generator) -> None:
    import torch
    from torch.nn import functional

    chosen = random.choice(len(lesson.inputs), min(BATCH, len(lesson.inputs)), replace=False)
    wanted, found = torch.from_numpy(lesson.teacher[chosen]), student(torch.from_numpy(lesson.inputs[chosen]))
    if lesson.multi_label:
        loss = functional.binary_cross_entropy_with_logits(found, wanted.sigmoid())
    else:
        loss = functional.kl_div(found.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean")
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
