"""What a network's logits are compared with where an image may have several labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeclf.training.config import Phase
from edgeclf.training.inputs.mixing import mix
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.label_losses import asymmetric_loss, binary_loss, mean_decision_weight, positive_weights
from edgeclf.training.loop.targets import Batch, Targets
from edgeclf.training.task import smoothing

if TYPE_CHECKING:
    import torch


class LabelObjective:
    """The loss of one phase, of each label by itself; what `Objective` is for one label an image."""

    def __init__(self, context: TrainingContext, phase: Phase) -> None:
        import torch

        self._config, self._on_features = context.config, phase.on_features
        self._weights: torch.Tensor | None = None
        self.mean_weight = 1.0
        if context.config.class_weights == "balanced":
            weights = positive_weights(context.train.labels)
            self._weights = torch.from_numpy(weights).to(context.device)
            self.mean_weight = mean_decision_weight(weights, context.train.labels)

    @property
    def chance_loss(self) -> float | None:
        return math.log(2) if self._config.loss == "cross-entropy" and self._weights is None else None

    def prepare(self, batch: Batch, seed: int) -> tuple[torch.Tensor, Targets]:
        """(inputs, their targets): images are mixed here, and the shares of their labels."""
        inputs, targets = batch.inputs, batch.labels
        if not self._on_features:
            mixup, cutmix = self._config.mixing
            inputs, targets = mix(inputs, targets, mixup=mixup, cutmix=cutmix, seed=seed)
        return inputs, Targets(targets)

    def loss(self, logits: torch.Tensor, targets: Targets, whole: float) -> torch.Tensor:
        """The sum over the images, divided by `whole`."""
        if self._config.loss == "asymmetric":
            return asymmetric_loss(logits, targets.labels, whole=whole)
        return binary_loss(
            logits,
            targets.labels,
            smoothing=smoothing(self._config, multi_label=True),
            positive_weights=self._weights,
            whole=whole,
        )
