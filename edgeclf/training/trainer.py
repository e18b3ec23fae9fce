"""The training loop: the phases of a strategy, one epoch after the other, each judged on validation, the best kept."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.augment import seed_of
from edgeclf.training.checkpoint import Checkpoint, copy_state, save_checkpoint
from edgeclf.training.config import TrainConfig
from edgeclf.training.inputs import FeatureInputs, Inputs, PictureInputs, Studio
from edgeclf.training.losses import balanced_weights, classification_loss, mix, soften
from edgeclf.training.run import CHECKPOINT, Run
from edgeclf_runtime.errors import BackendError, GateError, UsageError

if TYPE_CHECKING:
    import torch


_SAVE_EVERY_S = 5.0  # epochs of a head take less than writing the whole network does


class Watcher:
    """Told how a training goes; the command line draws bars and lines from it. This one is silent."""

    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def start(self, what: str, total: int) -> None: ...
    def advance(self) -> None: ...
    def epoch(self, record: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of a training: of the head on cached features, or of the network on pictures."""

    name: str
    on_features: bool
    epochs: int
    lr: float


def phases_of(config: TrainConfig) -> tuple[Phase, ...]:
    head = Phase("head", True, config.head_epochs, config.head_lr)
    network = Phase("network", False, config.epochs, config.peak_lr)
    return {"linear-probe": (head,), "two-phase": (head, network)}.get(config.strategy, (network,))


class Trainer:
    """One training of one network. `run_all` does what is left of it; the outcome is in `checkpoint`."""

    def __init__(self, run: Run, studio: Studio, checkpoint: Checkpoint, watcher: Watcher) -> None:
        self.config, self.run, self.studio, self.watch = studio.config, run, studio, watcher
        self.checkpoint = checkpoint
        self.classes = studio.classes
        self._saved_at = time.perf_counter()

    def run_all(self) -> None:
        """Trains what is left; a checkpoint is written after every epoch of the network, and every few seconds."""
        state = self.checkpoint
        phases = phases_of(self.config)
        while state.phase < len(phases):
            phase = phases[state.phase]
            self.studio.network.module.load_state_dict(state.weights)
            self._run_phase(phase)
            state.weights, state.ema = state.best, None  # the next phase starts from the best, with a fresh optimizer
            state.optimizer = state.scheduler = state.scaler = None
            state.phase, state.epoch, state.stale_epochs = state.phase + 1, 0, 0
            self._save()

    def best_val_logits(self) -> NDArray[np.float32]:
        """(N, classes) of the weights that are kept, on the validation pictures."""
        self.studio.network.module.load_state_dict(self.checkpoint.best)
        return PictureInputs(self.studio).val_logits()

    def _run_phase(self, phase: Phase) -> None:
        state, start = self.checkpoint, time.perf_counter()
        inputs: Inputs
        if phase.on_features:
            self.watch.start("features", FeatureInputs.passes(self.studio))
            inputs = FeatureInputs(self.studio, self.watch.advance)
        else:
            inputs = PictureInputs(self.studio)
        learner = _Learner(self, phase, inputs)
        if state.optimizer is not None:
            learner.restore(state)
        while state.epoch < phase.epochs and not 0 < self.config.patience <= state.stale_epochs:
            self.watch.start(f"{phase.name} {state.epoch + 1}/{phase.epochs}", len(inputs))
            lr, loss = learner.lr, learner.train_epoch(state.epoch)
            scores = learner.judge()
            seconds = time.perf_counter() - start
            images_per_s = len(self.studio.train) / seconds
            record = {"phase": phase.name, "epoch": state.epoch + 1, "lr": lr, "train_loss": loss, **scores}
            record |= {"seconds": round(seconds, 3), "images_per_s": round(images_per_s, 1)}
            state.epoch += 1
            state.seconds += seconds
            state.history.append(record)
            self._keep_best(scores, learner)
            learner.store(state)
            if not phase.on_features or time.perf_counter() - self._saved_at > _SAVE_EVERY_S:
                self._save()
            self.watch.epoch(record)
            start = time.perf_counter()

    def _keep_best(self, scores: dict[str, float], learner: _Learner) -> None:
        state = self.checkpoint
        score = scores["val_macro_f1" if self.config.select == "macro-f1" else "val_top1"]
        if score > state.best_score:
            state.best, state.best_score, state.best_epoch = learner.judged_weights(), score, len(state.history)
            state.stale_epochs = 0
        else:
            state.stale_epochs += 1

    def _save(self) -> None:
        save_checkpoint(self.run.path / CHECKPOINT, self.checkpoint)
        self.run.write_history(self.checkpoint.history)
        self._saved_at = time.perf_counter()


class _Learner:
    """Optimizer, schedule and averages of one phase."""

    def __init__(self, trainer: Trainer, phase: Phase, inputs: Inputs) -> None:
        import torch

        self._trainer, self._config, self._studio, self._inputs = trainer, trainer.config, trainer.studio, inputs
        self._phase = phase
        config, network = self._config, self._studio.network
        if phase.on_features:
            groups: list[dict[str, Any]] = [
                {
                    "params": [parameter],
                    "weight_decay": config.weight_decay if parameter.ndim > 1 else 0.0,
                    "lr": phase.lr,
                }
                for parameter in network.head_parameters
            ]
        else:
            groups = network.parameter_groups(config.strategy, phase.lr, config.weight_decay, config.layer_decay)
        self._optimizer: Any = (
            torch.optim.AdamW(groups, lr=phase.lr)
            if config.optimizer == "adamw"
            else torch.optim.SGD(groups, lr=phase.lr, momentum=config.momentum, nesterov=config.momentum > 0)
        )
        self._steps = math.ceil(len(inputs) / config.accumulate)
        self._scheduler = _schedule(self._optimizer, config, self._steps, phase)
        self._scaler: Any = torch.amp.GradScaler(self._studio.device.type, enabled=self._studio.scales_gradients)
        self._ema: Any = None
        if config.ema and not phase.on_features:
            from timm.utils import ModelEmaV3

            self._ema = ModelEmaV3(network.module, decay=config.ema, use_warmup=True)
        weights = balanced_weights(self._studio.train.labels, trainer.classes)
        self._class_weights = (
            torch.from_numpy(weights).to(self._studio.device) if config.class_weights == "balanced" else None
        )
        self._micro_batches = 1
        self._steps_done = 0

    @property
    def lr(self) -> float:
        return max(float(group["lr"]) for group in self._optimizer.param_groups)

    def train_epoch(self, epoch: int) -> float:
        """Mean training loss. All randomness follows from (seed, phase, epoch): a resumed epoch repeats itself."""
        import torch

        seed = seed_of(self._config.seed, self._phase.name, epoch)
        torch.manual_seed(seed)  # dropout, stochastic depth
        self._inputs.start()
        self._steps_done = epoch * self._steps
        total, count = 0.0, 0
        together, last = self._config.accumulate, len(self._inputs) - 1
        for number, (batch, labels) in enumerate(self._inputs.batches(epoch)):
            summed = min(together, last + 1 - number // together * together)  # fewer at the end of an epoch
            loss = self._backward(batch, labels, 1 / summed, seed_of(seed, number))
            self._check(loss, epoch, number)
            if (number + 1) % together == 0 or number == last:
                self._step()
            total, count = total + loss * len(labels), count + len(labels)
            self._trainer.watch.advance()
        return total / count

    def _backward(self, batch: torch.Tensor, labels: torch.Tensor, factor: float, seed: int) -> float:
        """Adds `factor` times this batch's gradients; out of GPU memory, goes on with smaller parts of it."""
        import torch

        targets = soften(labels, self._trainer.classes, self._config.label_smoothing)
        if not self._phase.on_features:
            mixup, cutmix = self._config.mixing
            batch, targets = mix(batch, targets, mixup=mixup, cutmix=cutmix, seed=seed)
        while True:
            try:
                return self._backward_parts(batch, targets, factor)
            except torch.OutOfMemoryError as error:
                tried = math.ceil(len(batch) / self._micro_batches)
                if tried <= 2:
                    raise BackendError(f"out of GPU memory with {tried} pictures; try a smaller --img-size") from error
                self._micro_batches *= 2
                self._optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                self._trainer.watch.warn(
                    f"out of GPU memory with {tried} pictures at a time; going on with {math.ceil(tried / 2)}, "
                    f"gradients summed to the same batch of {len(batch)}"
                )

    def _backward_parts(self, batch: torch.Tensor, targets: torch.Tensor, factor: float) -> float:
        size = math.ceil(len(batch) / self._micro_batches)
        total = 0.0
        for part, wanted in zip(_split(batch, size), _split(targets, size), strict=True):
            with self._studio.autocast():
                loss = classification_loss(
                    self._inputs.logits(part),
                    wanted,
                    focal_gamma=self._config.focal_gamma if self._config.loss == "focal" else None,
                    weights=self._class_weights,
                )
            share = len(part) / len(batch)
            self._scaler.scale(loss * (share * factor)).backward()
            total += float(loss.detach()) * share
        return total

    def _step(self) -> None:
        import torch

        self._scaler.unscale_(self._optimizer)
        if self._config.clip:
            parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self._config.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._steps_done += 1
        if self._ema is not None:
            self._ema.update(self._studio.network.module, step=self._steps_done)
        if self._config.schedule != "plateau":
            self._scheduler.step()

    def _check(self, loss: float, epoch: int, number: int) -> None:
        if not math.isfinite(loss):
            raise GateError(
                f"the loss became {loss} in epoch {epoch + 1} of the phase '{self._phase.name}'; the last good epoch "
                f"is kept in {self._trainer.run.path}. Try a lower --lr, a lower --clip, or --amp off"
            )
        expected = math.log(self._trainer.classes)
        fresh = not self._trainer.checkpoint.history and number == 0
        plain = self._config.loss == "cross-entropy" and self._class_weights is None
        if fresh and plain and abs(loss - expected) > 0.5 * expected:
            self._trainer.watch.warn(
                f"the first loss is {loss:.2f}; a fresh head on {self._trainer.classes} classes gives {expected:.2f}"
            )

    def judge(self) -> dict[str, float]:
        """Validation figures of the weights that would be kept."""
        own = None
        if self._ema is not None:
            own = copy_state(self._studio.network.module)
            self._studio.network.module.load_state_dict(self._ema.module.state_dict())
        scores = score(self._inputs.val_logits(), self._studio.val.labels)
        if own is not None:
            self._studio.network.module.load_state_dict(own)
        if self._config.schedule == "plateau":
            self._scheduler.step(scores["val_loss"])
        return scores

    def judged_weights(self) -> dict[str, torch.Tensor]:
        return copy_state(self._studio.network.module if self._ema is None else self._ema.module)

    def store(self, state: Checkpoint) -> None:
        state.weights = copy_state(self._studio.network.module)
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


def score(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Cross-entropy in nats, top-1, and macro-F1 over the classes that have images, of (N, classes) logits."""
    from sklearn.metrics import f1_score

    from edgeclf_runtime.proof import log_softmax

    log_p, answers = log_softmax(logits.astype(np.float64)), logits.argmax(axis=1)
    return {
        "val_loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "val_top1": float((answers == labels).mean()),
        "val_macro_f1": float(f1_score(labels, answers, labels=np.unique(labels), average="macro", zero_division=0)),
    }


def choose_device(asked: str) -> torch.device:
    """The GPU where there is one and nothing else was asked for. Raises BackendError for a GPU that is not there."""
    import torch

    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked not in ("cpu", "cuda"):
        raise UsageError(f"no device {asked!r} for training; choose one of auto, cpu, cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise BackendError("asked torch for cuda, it finds none; leave --device out to train on the cpu")
    return torch.device(asked)


def _schedule(optimizer: Any, config: TrainConfig, steps: int, phase: Phase) -> Any:
    """Per step: cosine with linear warm-up, or OneCycle; per epoch: plateau."""
    from torch.optim import lr_scheduler

    total = max(2, steps * phase.epochs)
    if config.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2)
    rates = [group["lr"] for group in optimizer.param_groups]
    if config.schedule == "onecycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=total + 1)
    warmup = min(int(config.warmup_epochs * steps), total // 2)

    def factor(step: int) -> float:  # of each group's own peak, however low that is
        if step < warmup:
            return 0.05 + 0.95 * step / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))

    return lr_scheduler.LambdaLR(optimizer, factor)


def _split(tensor: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    parts: tuple[torch.Tensor, ...] = tensor.split(size)  # type: ignore[no-untyped-call]
    return parts
