"""The learner of an adaptation: backbone and expander, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeclf.training.adaptation.folder import AdaptConfig
from edgeclf.training.adaptation.vicreg import Terms, build_expander, measure_spread, vicreg_terms
from edgeclf.training.inputs.batches import TrainingBatches
from edgeclf.training.loop.device import amp_type, choose_device, is_out_of_memory
from edgeclf.training.loop.network import Network
from edgeclf.training.run.checkpoint import Checkpoint, copy_state
from edgeclf.training.seeds import seed_of
from edgeclf_export.sources.trained import Architecture
from edgeclf_runtime.errors import BackendError, GateError, UsageError
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import torch

NO_CLASSES = ("unlabelled", "unused")  # a head is built, since its inputs are the features, and discarded
_WARM_UP = 0.1  # of all steps
_LARGEST_GRADIENT = 1.0


class AdaptationLearner:
    """Backbone and expander on one device, with optimizer and schedule."""

    def __init__(self, config: AdaptConfig, architecture: Architecture, module: torch.nn.Module) -> None:
        import torch

        self._config, self.device = config, choose_device(config.device)
        self._network = Network.of(module, len(NO_CLASSES), 0.0, seed_of(config.seed, "head"))
        height, width = architecture.pixels.crop_px
        normalization = architecture.normalization
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
        self._mean, self._std = 255 * mean.to(self.device), 255 * std.to(self.device)
        module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        noise = torch.randint(0, 256, (2, height, width, 3), generator=torch.Generator().manual_seed(0))
        if not self._network.is_heads_on_features(self._normalized(noise)):
            raise UsageError("this backbone does more than apply linear heads to features; choose another to adapt")
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

    def train_epoch(self, epoch: int, batches: TrainingBatches, progress: Progress) -> dict[str, Any]:
        """The means of one epoch. BatchNorm follows the images: its statistics are a part of what is adapted."""
        import torch

        torch.manual_seed(seed_of(self._config.seed, "adapt", epoch))  # dropout, stochastic depth
        self.parts.train()
        lr = float(self._optimizer.param_groups[0]["lr"])
        sums, std = [0.0] * 4, 0.0
        for views in self._whole(batches, epoch):
            terms, loss, embeddings = self._step(views)
            if not math.isfinite(loss):
                raise GateError(f"the loss is {loss} in epoch {epoch + 1}; try a lower --lr, or --amp off")
            found = (loss, *(float(term.detach()) for term in (terms.invariance, terms.variance, terms.covariance)))
            sums = [total + value for total, value in zip(sums, found, strict=True)]
            std += float(embeddings.std(dim=0).mean())
            progress.advance()
        means = [total / self.steps for total in sums]
        names = ("loss", "invariance", "variance", "covariance")
        spread = replace(measure_spread(embeddings), std=std / self.steps)
        if spread.collapsed:
            progress.warn(
                f"the embeddings collapse: standard deviation {spread.std:.3f}, wanted 1; {spread.rank:.1f} dimensions "
                "in use"
            )
        record: dict[str, Any] = {"epoch": epoch + 1, "lr": lr, **dict(zip(names, means, strict=True))}
        return {**record, "embedding_std": spread.std, "embedding_rank": spread.rank}

    def _whole(self, batches: TrainingBatches, epoch: int) -> Iterator[torch.Tensor]:
        """(N, 2, H, W, 3) views of whole batches: the covariance of a few images would be all noise."""
        for views, _ in batches.epoch(epoch):
            if len(views) == self._config.batch_size:
                yield views

    def _step(self, views: torch.Tensor) -> tuple[Terms, float, torch.Tensor]:
        """Both views pass as one batch, so that a BatchNorm sees twice as many images."""
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
