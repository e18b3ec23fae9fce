"""The learner of one phase: optimizer, schedule and weight averages, epoch by epoch."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeclf.training.config import Phase
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.device import free_cached, is_out_of_memory
from edgeclf.training.loop.label_objective import LabelObjective
from edgeclf.training.loop.optimizer import make_optimizer, make_schedule
from edgeclf.training.loop.phases import Inputs
from edgeclf.training.loop.scores import score
from edgeclf.training.loop.targets import Batch, Objective, Targets
from edgeclf.training.run.checkpoint import Checkpoint, copy_state
from edgeclf.training.seeds import seed_of
from edgeclf.training.waiting import Awaited
from edgeclf_runtime.errors import BackendError, GateError
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the training images: the mean loss, how long it took, how much of that it waited for images."""

    loss: float
    seconds: float
    waited_s: float


class Learner:
    """Optimizer, schedule and averages of one phase."""

    def __init__(self, context: TrainingContext, phase: Phase, inputs: Inputs, progress: Progress) -> None:
        import torch

        self._config, self._context, self._phase, self._inputs = context.config, context, phase, inputs
        self._progress = progress
        config, network = context.config, context.network
        self._optimizer = make_optimizer(config, network, phase)
        self._learning = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._steps = math.ceil(len(inputs) / config.accumulate)
        self._scheduler = make_schedule(self._optimizer, config, self._steps, phase)
        self._scaler: Any = torch.amp.GradScaler(self._context.device.type, enabled=self._context.scales_gradients)
        self._ema: Any = None
        if config.ema and not phase.on_features:
            from timm.utils import ModelEmaV3

            self._ema = ModelEmaV3(network.module, decay=config.ema, use_warmup=True)
        self._objective = (LabelObjective if context.train.multi_label else Objective)(context, phase)
        self._micro_batches = 1
        self._steps_done = 0

    @property
    def lr(self) -> float:
        return max(float(group["lr"]) for group in self._optimizer.param_groups)

    def train_epoch(self, epoch: int, *, fresh: bool) -> Pass:
        """One pass over the training images; `fresh`: the head is untrained.

        All randomness follows from (seed, phase, epoch, process): a resumed epoch repeats itself. Raises GateError
        where the loss is not a number.
        """
        import torch

        seed = self._context.processes.own_seed(seed_of(self._config.seed, self._phase.name, epoch))
        torch.manual_seed(seed)  # dropout, stochastic depth
        self._inputs.start()
        self._steps_done = epoch * self._steps
        start = time.perf_counter()
        batches = Awaited(self._inputs.batches(epoch))
        total, count, step_loss = 0.0, 0.0, 0.0
        together, last = self._config.accumulate, len(self._inputs) - 1
        for number, batch in enumerate(batches):
            summed = min(together, last + 1 - number // together * together)  # fewer at the end of an epoch
            loss, images = self._backward(batch, 1 / summed, seed_of(seed, number))
            total, count, step_loss = total + loss * images, count + images, step_loss + loss / summed
            if (number + 1) % together == 0 or number == last:
                step_loss = self._context.processes.sum_gradients(self._learning, step_loss)
                self._check(step_loss, epoch, fresh=fresh and number < together)
                self._step()
                step_loss = 0.0
            self._progress.advance()
        (total,) = self._context.processes.totals(total)
        self._average_statistics()
        return Pass(total / count, time.perf_counter() - start, batches.waited_s)

    def _backward(self, batch: Batch, factor: float, seed: int) -> tuple[float, float]:
        """Adds `factor` times this batch's gradients; out of memory, goes on with smaller parts of it.

        The loss and the number of images come back, the loss this process's part of the mean over the images of all.
        """
        inputs, targets = self._objective.prepare(batch, seed)
        (images,) = self._context.processes.totals(len(inputs))
        whole = images * self._objective.mean_weight
        while True:
            try:
                return self._backward_parts(inputs, targets, factor, whole), images
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(inputs), error)

    def _halve(self, images: int, error: RuntimeError) -> None:
        """Frees memory to try half as many images at a time. Raises BackendError where two are too many."""
        tried = math.ceil(images / self._micro_batches)
        if tried <= 2:
            raise BackendError(f"out of memory with {tried} images at a time; try a smaller --img-size") from error
        if self._context.syncs_batch_norm:  # its layers wait for each other: all would have to halve at once
            raise BackendError(f"out of memory with {tried} images per process; try a smaller --batch-size") from error
        self._micro_batches *= 2
        self._optimizer.zero_grad(set_to_none=True)
        free_cached()
        self._progress.warn(
            f"out of memory with {tried} images at a time; going on with {math.ceil(tried / 2)}, gradients summed to "
            f"the same batch of {images}"
            + ("; batches summed before it in this step are lost" if self._config.accumulate > 1 else "")
        )

    def _backward_parts(self, inputs: torch.Tensor, targets: Targets, factor: float, whole: float) -> float:
        size = math.ceil(len(inputs) / self._micro_batches)
        total = 0.0
        if not size:
            return total
        for part, wanted in zip(_split(inputs, size), targets.split(size), strict=True):
            with self._context.autocast():
                loss = self._objective.loss(self._inputs.logits(part), wanted, whole)
            self._scaler.scale(loss * factor).backward()
            total += float(loss.detach())
        return total

    def _average_statistics(self) -> None:
        """Gives all processes the mean of their BatchNorm statistics; synchronised ones are the same already."""
        if self._context.learns_batch_norm and not self._phase.on_features:
            modules = [self._context.network.module] + ([] if self._ema is None else [self._ema.module])
            statistics = [each for module in modules for each in module.buffers() if each.is_floating_point()]
            self._context.processes.average_in_place(statistics)

    def _step(self) -> None:
        import torch

        self._scaler.unscale_(self._optimizer)
        if self._config.clip:
            torch.nn.utils.clip_grad_norm_(self._learning, self._config.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._steps_done += 1
        if self._ema is not None:
            self._ema.update(self._context.network.module, step=self._steps_done)
        if self._config.schedule != "plateau":
            self._scheduler.step()

    def _check(self, loss: float, epoch: int, *, fresh: bool) -> None:
        if not math.isfinite(loss):
            raise GateError(
                f"the loss is {loss} in epoch {epoch + 1} of the phase '{self._phase.name}'; try {self._remedies()}"
            )
        expected = self._objective.chance_loss
        if fresh and expected is not None and abs(loss - expected) > 0.5 * expected:
            self._progress.warn(
                f"the first loss is {loss:.2f}; a fresh head on {self._context.classes} classes gives {expected:.2f}"
            )

    def _remedies(self) -> str:
        clip = "a lower --clip-grad" if self._config.clip else "--clip-grad 1"
        return f"a lower --lr, {clip}{'' if self._config.amp == 'off' else ', or --amp off'}"

    def validate(self) -> dict[str, float]:
        """Validation figures of the weights that would be kept. Raises GateError where the loss is not a number."""
        own = None
        if self._ema is not None:
            own = copy_state(self._context.network.module)
            self._context.network.module.load_state_dict(self._ema.module.state_dict())
        scores = score(self._inputs.val_logits(), self._context.val)
        if own is not None:
            self._context.network.module.load_state_dict(own)
        if not math.isfinite(scores["val_loss"]):
            raise GateError(
                f"the validation loss is {scores['val_loss']} after the phase "
                f"'{self._phase.name}' diverged; try {self._remedies()}"
            )
        if self._config.schedule == "plateau":
            self._scheduler.step(scores["val_loss"])
        return scores

    def evaluated_weights(self) -> dict[str, torch.Tensor]:
        return copy_state(self._context.network.module if self._ema is None else self._ema.module)

    def store(self, state: Checkpoint) -> None:
        state.weights = copy_state(self._context.network.module)
        state.ema = None if self._ema is None else copy_state(self._ema.module)
        state.optimizer, state.scheduler = self._optimizer.state_dict(), self._scheduler.state_dict()
        state.scaler = self._scaler.state_dict()

    def restore(self, state: Checkpoint) -> None:
        self._optimizer.load_state_dict(state.optimizer)
        self._scheduler.load_state_dict(state.scheduler)
        if state.scaler:
            self._scaler.load_state_dict(state.scaler)
        if self._ema is not None and state.ema is not None:
            self._ema.module.load_state_dict(state.ema)


def _split(tensor: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    parts: tuple[torch.Tensor, ...] = tensor.split(size)  # type: ignore[no-untyped-call]
    return parts
