"""From unlabelled images to weights that know them: `adapt` starts it, `resume` ends one that was interrupted.

VICReg, written out: lightly, the library for such methods, would bring pytorch-lightning, hydra and aiohttp, fourteen
packages for a loss of a dozen lines; pytorch-metric-learning has the loss alone, without its terms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.data.usable import left_out_sentence
from edgeclf.training.adaptation.folder import Adaptation, AdaptConfig
from edgeclf.training.adaptation.unlabelled import Unlabelled
from edgeclf.training.adaptation.vicreg import Spread, Terms, build_expander, measure_spread, vicreg_terms
from edgeclf.training.adaptation.views import TwoViews
from edgeclf.training.inputs.augment import seed_of
from edgeclf.training.inputs.batches import TrainingBatches, dead_workers_named
from edgeclf.training.loop.device import amp_type, choose_device, is_out_of_memory
from edgeclf.training.loop.network import Network
from edgeclf.training.run.checkpoint import Checkpoint, copy_state, load_checkpoint, save_checkpoint, save_tensors
from edgeclf.training.run.run import CHECKPOINT
from edgeclf.training.watcher import Watcher
from edgeclf_export.sources.adapted import Adapted, header_of, shortened
from edgeclf_export.sources.trained import Architecture, load_for_training
from edgeclf_runtime.backends.torch_module import build_module
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.machine.facts import now_utc

if TYPE_CHECKING:
    import torch

_NO_CLASSES = ("unlabelled", "unused")  # a head is built, for its inputs are the features, and thrown away
_WARM_UP = 0.1  # of all steps
_LARGEST_GRADIENT = 1.0


def adapt(config: AdaptConfig, images: Unlabelled, path: Path, watcher: Watcher = Watcher()) -> Adaptation:
    """Adapts a backbone to the images and leaves its weights, without a head, in the folder `path`.

    Raises
    ------
    UsageError
        The folder holds an adaptation or a run, or the backbone is more than features and a linear head.
    DataError
        There are fewer images than a batch has, or the weights are not available.
    GateError
        The embeddings collapsed, or the loss is no number: no weights are left.
    """
    Adaptation.check_free(path)
    _check_images(config, images)
    if images.broken:
        watcher.warn(_left_out(images))
    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=_NO_CLASSES,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    learner = _Learner(config, architecture, module)
    made = Adaptation(path)
    with made.alone():
        start = Checkpoint(0, 0, copy_state(learner.parts), {})
        Adaptation.create(path, config, images, architecture, start)
        return _finish(made, config, images, architecture, learner, start, watcher)


def resume(path: Path, watcher: Watcher = Watcher()) -> Adaptation:
    """Ends an interrupted adaptation, bit for bit as it would have ended on the same CPU."""
    made = Adaptation.open(path)
    if made.finished:
        raise UsageError(f"{path}: its adaptation has ended; train with `edgeclf train DATA --weights {path}`")
    config, images, architecture = made.config(), made.images(), made.architecture()
    with made.alone():
        there = images.read_again(config.value_range)
        if there.broken != images.broken:
            _check_images(config, there)
            watcher.warn(f"{_left_out(there)}; it goes on without them, and so not to the same bits")
            made.write_images(there)
        images, checkpoint = there, load_checkpoint(path / CHECKPOINT)
        learner = _Learner(config, architecture, build_module(architecture.builder))
        learner.parts.load_state_dict(checkpoint.weights)
        return _finish(made, config, images, architecture, learner, checkpoint, watcher)


def _finish(
    made: Adaptation,
    config: AdaptConfig,
    images: Unlabelled,
    architecture: Architecture,
    learner: _Learner,
    state: Checkpoint,
    watcher: Watcher,
) -> Adaptation:
    watcher.note(
        f"{architecture.backbone}: {learner.parameters:,} parameters, no labels; {len(images.pictures)} images of "
        f"{images.data.name} on {learner.device}"
    )
    batches = TrainingBatches(
        images.pictures,
        architecture.pixels,
        TwoViews(architecture.pixels, config.seed, hflip=config.hflip, vflip=config.vflip),  # type: ignore[arg-type]
        batch_size=config.batch_size,
        seed=config.seed,
        weighted=False,
        workers=config.processes,
    )
    learner.start(len(images.pictures) // config.batch_size, state)
    while state.epoch < config.epochs:
        watcher.start(f"adapt {state.epoch + 1}/{config.epochs}", learner.steps)
        begun = time.perf_counter()
        with dead_workers_named():
            record = learner.train_epoch(state.epoch, batches, watcher)
        seconds = time.perf_counter() - begun
        seen = learner.steps * config.batch_size
        record |= {"seconds": round(seconds, 3), "images_per_s": round(seen / seconds, 1)}
        state.epoch += 1
        state.seconds += seconds
        state.history.append(record)
        learner.store(state)
        save_checkpoint(made.path / CHECKPOINT, state)
        made.write_history(state.history)
        watcher.epoch(record)
    _refuse_collapse(made, state.history)
    last = state.history[-1]
    adapted = Adapted(
        backbone=architecture.backbone,
        weights=architecture.weights,
        img_size_px=architecture.pixels.crop_px,
        data=images.data.name,
        images=len(images.pictures),
        epochs=config.epochs,
        seed=config.seed,
        seconds=round(state.seconds, 1),
        embedding_std=last["embedding_std"],
        embedding_rank=last["embedding_rank"],
        created_utc=now_utc(),
        image_hashes=shortened(image.sha256 for image in images.data.images),
    )
    with writing(made.weights, force=True) as draft:
        save_tensors(learner.backbone_state(), draft, header_of(adapted))
    made.write_outcome(adapted)
    return made


def _check_images(config: AdaptConfig, images: Unlabelled) -> None:
    """Raises DataError where they do not make a batch."""
    if len(images.pictures) < config.batch_size:
        raise DataError(
            f"{images.data.root}: {len(images.pictures)} images that can be read, fewer than a batch of "
            f"{config.batch_size}; give a smaller --batch-size, or more images"
        )


def _left_out(images: Unlabelled) -> str:
    return f"{left_out_sentence(images.broken, len(images.broken) + len(images.pictures))}; they are left out"


def _refuse_collapse(made: Adaptation, history: list[dict[str, Any]]) -> None:
    """Raises GateError where the embeddings of the last epoch say the same of all images."""
    last = history[-1]
    if Spread(last["embedding_std"], last["embedding_rank"]).collapsed:
        raise GateError(
            f"the embeddings collapsed (deviation {last['embedding_std']:.3f} of 1, {last['embedding_rank']:.1f} "
            f"dimensions in use), so no weights are left in {made.path}; try a lower --lr, a larger --batch-size, or "
            "more varied images, and another --output"
        )


class _Learner:
    """Backbone and expander on one device, with what makes them learn."""

    def __init__(self, config: AdaptConfig, architecture: Architecture, module: torch.nn.Module) -> None:
        import torch

        self._config, self.device = config, choose_device(config.device)
        self._network = Network.of(module, len(_NO_CLASSES), 0.0, seed_of(config.seed, "head"))
        height, width = architecture.pixels.crop_px
        normalization = architecture.normalization
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        self._mean, self._std = 255 * mean.to(self.device), 255 * std.to(self.device)
        module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        noise = torch.randint(0, 256, (2, height, width, 3), generator=torch.Generator().manual_seed(0))
        if not self._network.is_heads_on_features(self._normalized(noise)):
            raise UsageError("this backbone is more than features and linear heads; choose another to adapt")
        with torch.inference_mode():
            features = self._features(noise).shape[1]
        expander = build_expander(features, config.embedding, seed_of(config.seed, "expander"))
        self.parts = torch.nn.ModuleDict({"backbone": module, "expander": expander.to(self.device)})
        self._amp = amp_type(config.amp, self.device)
        self.steps = 0
        self._optimizer: Any = None
        self._scheduler: Any = None

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._network.backbone_parameters)

    def start(self, steps: int, state: Checkpoint) -> None:
        """Optimizer and schedule for so many steps an epoch, as the checkpoint has them."""
        import torch

        lr, self.steps = self._config.peak_lr, steps
        learning = [*self._network.backbone_parameters, *self.parts["expander"].parameters()]
        groups = [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": self._config.weight_decay},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=lr)
        total = max(2, steps * self._config.epochs) + 1
        warm_up = max(_WARM_UP, 2 / total)  # a rise of no step, of 10 in all, would be a division by zero in torch
        self._scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, lr, total_steps=total, pct_start=warm_up, cycle_momentum=False
        )
        if state.optimizer is not None:
            self._optimizer.load_state_dict(state.optimizer)
            self._scheduler.load_state_dict(state.scheduler)

    def train_epoch(self, epoch: int, batches: TrainingBatches, watcher: Watcher) -> dict[str, Any]:
        """The means of one epoch. BatchNorm follows the images: its statistics are a part of what is adapted."""
        import torch

        torch.manual_seed(seed_of(self._config.seed, "adapt", epoch))  # dropout, stochastic depth
        self.parts.train()
        lr = float(self._optimizer.param_groups[0]["lr"])
        sums, std = [0.0] * 4, 0.0
        for views in self._whole(batches, epoch):
            terms, loss, embeddings = self._step(views)
            if not math.isfinite(loss):
                raise GateError(f"the loss became {loss} in epoch {epoch + 1}; try a lower --lr, or --amp off")
            found = (loss, *(float(term.detach()) for term in (terms.invariance, terms.variance, terms.covariance)))
            sums = [total + value for total, value in zip(sums, found, strict=True)]
            std += float(embeddings.std(dim=0).mean())
            watcher.advance()
        means = [total / self.steps for total in sums]
        names = ("loss", "invariance", "variance", "covariance")
        spread = replace(measure_spread(embeddings), std=std / self.steps)
        if spread.collapsed:
            watcher.warn(f"the embeddings collapse: deviation {spread.std:.3f} of 1, {spread.rank:.1f} dimensions")
        record: dict[str, Any] = {"epoch": epoch + 1, "lr": lr, **dict(zip(names, means, strict=True))}
        return {**record, "embedding_std": spread.std, "embedding_rank": spread.rank}

    def _whole(self, batches: TrainingBatches, epoch: int) -> Iterator[torch.Tensor]:
        """(N, 2, H, W, 3) views of whole batches: the covariance of a few pictures would be all noise."""
        for views, _ in batches.epoch(epoch):
            if len(views) == self._config.batch_size:
                yield views

    def _step(self, views: torch.Tensor) -> tuple[Terms, float, torch.Tensor]:
        """Both views pass as one batch, so that a BatchNorm sees twice as many pictures."""
        import torch

        try:
            with torch.autocast(self.device.type, self._amp, enabled=self._amp is not None):
                features = self._features(torch.cat([views[:, 0], views[:, 1]]))
                embeddings = self.parts["expander"](features)
            one, other = embeddings.float().chunk(2)
            terms = vicreg_terms(one, other)
            loss = terms.loss(self._config.term_weights)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise BackendError(
                f"out of memory with two views of {len(views)} images; try a smaller --batch-size or --img-size"
            ) from error
        torch.nn.utils.clip_grad_norm_(self.parts.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._scheduler.step()
        return terms, float(loss.detach()), one.detach()

    def _normalized(self, images: torch.Tensor) -> torch.Tensor:
        return (images.to(self.device).float().permute(0, 3, 1, 2) - self._mean) / self._std

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, features)."""
        return self._network.features(self._normalized(images)).flatten(1)

    def store(self, state: Checkpoint) -> None:
        state.weights = copy_state(self.parts)
        state.optimizer, state.scheduler = self._optimizer.state_dict(), self._scheduler.state_dict()

    def backbone_state(self) -> dict[str, torch.Tensor]:
        """The backbone's tensors, without its head."""
        module = self._network.module
        heads = {name for name, part in module.named_modules() if any(part is head for head in self._network.heads)}
        return {name: tensor for name, tensor in copy_state(module).items() if name.rpartition(".")[0] not in heads}
