"""What a network's logits are compared with in one phase: labels, softened and weighted, and a teacher's logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeclf.training.config import Phase
from edgeclf.training.inputs.mixing import mix
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.losses import (
    balanced_weights,
    classification_loss,
    distillation_loss,
    mean_weight,
    one_hot,
    soften,
)
from edgeclf.training.task import smoothing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's share of a step: inputs of the network (or of its head), labels (N,), and stored logits.

    Labels are targets (N, classes) where images may have several.

    `taught` (N, classes) is None where there is no teacher, or where it sees the views themselves.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    taught: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """(N, classes) soft labels, each row summing to its image's weight where it has one label; with a teacher its
    probabilities, and their weights (N,), which are 1 for an image without a label.

    `known` (N,): how much of an image somebody has labelled, where it may have several; None: all of each.
    """

    labels: torch.Tensor
    taught: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    known: torch.Tensor | None = None

    def split(self, size: int) -> Iterator[Targets]:
        for start in range(0, len(self.labels), size):
            part = slice(start, start + size)
            taught, weights, known = (
                None if each is None else each[part] for each in (self.taught, self.weights, self.known)
            )
            yield Targets(self.labels[part], taught, weights, known)


class Objective:
    """The loss of one phase.

    `mean_weight`: the mean weight of a training image, which a batch's sum of losses is divided by.
    """

    def __init__(self, context: TrainingContext, phase: Phase) -> None:
        self._config, self._context, self._phase = context.config, context, phase
        self._temperature = phase.distillation_temperature(context.config)
        self._class_weights: torch.Tensor | None = None
        self.mean_weight = 1.0
        if context.config.class_weights == "balanced":
            self._weigh_classes()

    def _weigh_classes(self) -> None:
        import torch

        labels = self._context.train.labels
        weights = balanced_weights(labels, self._context.classes)
        self._class_weights = torch.from_numpy(weights).to(self._context.device)
        self.mean_weight = mean_weight(weights, labels, evenly=self._config.sampler == "weighted")

    @property
    def chance_loss(self) -> float | None:
        """The loss of an untrained head, which guesses among all classes; None: it is another for each batch."""
        plain = self._config.loss == "cross-entropy" and self._class_weights is None and self._config.teacher is None
        return math.log(self._context.classes) if plain else None

    def prepare(self, batch: Batch, seed: int) -> tuple[torch.Tensor, Targets]:
        """(inputs, their targets): images are mixed here, and shown to a teacher that sees every view."""
        import torch

        inputs, rows = batch.inputs, self._rows(batch.labels)
        columns = rows.shape[1]
        if batch.taught is not None:
            rows = torch.cat([rows, self._probabilities(batch.taught)], dim=1)
        views = not self._phase.on_features and self._context.distillation is not None
        if not self._phase.on_features:
            mixup, cutmix = self._config.mixing
            inputs, rows = mix(inputs, rows, mixup=mixup, cutmix=cutmix, seed=seed)
        labels, taught = rows[:, :columns], rows[:, columns:]
        if views and batch.taught is None:
            taught = self._probabilities(self._context.taught_of(inputs))
            inputs = self._context.student_size(inputs)
        return inputs, self._targets(labels, None if self._context.distillation is None else taught)

    def _rows(self, labels: torch.Tensor) -> torch.Tensor:
        """(N, classes) targets, not yet mixed, and whatever else of an image mixes with them."""
        return one_hot(labels, self._context.classes)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits / self._temperature).softmax(dim=1)

    def _targets(self, labels: torch.Tensor, taught: torch.Tensor | None) -> Targets:
        softened = soften(labels, smoothing(self._config, multi_label=False), self._class_weights)
        return Targets(softened, taught, None if taught is None else self._teacher_weights(labels, softened))

    def _teacher_weights(self, labels: torch.Tensor, softened: torch.Tensor) -> torch.Tensor:
        """(N,): its share for a labelled image, times the weight of its class; 1 for one that nobody labelled."""
        return self._config.teacher_share * softened.sum(dim=1) + 1.0 - labels.sum(dim=1)

    def loss(self, logits: torch.Tensor, targets: Targets, whole: float) -> torch.Tensor:
        """The sum over the images, divided by `whole`."""
        config = self._config
        gamma = config.focal_gamma if config.loss == "focal" else None
        own = classification_loss(logits, targets.labels, focal_gamma=gamma, whole=whole)
        if targets.taught is None or targets.weights is None:
            return own
        taught = distillation_loss(logits, targets.taught, targets.weights, self._temperature, whole)
        return (1.0 - config.teacher_share) * own + taught
