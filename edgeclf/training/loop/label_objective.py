"""What a network's logits are compared with where an image may have several labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeclf.training.distillation.distillation import NO_LABEL
from edgeclf.training.loop.label_losses import (
    asymmetric_loss,
    binary_loss,
    label_distillation_loss,
    mean_decision_weight,
    positive_weights,
)
from edgeclf.training.loop.targets import Objective, Targets
from edgeclf.training.task import smoothing

if TYPE_CHECKING:
    import torch

_LEAST = 1e-8  # known of an image of which nothing is known


class LabelObjective(Objective):
    """The loss of one phase, of each label by itself."""

    def _weigh_classes(self) -> None:
        import torch

        labels = self._context.train.labels
        weights = positive_weights(labels)
        self._class_weights = torch.from_numpy(weights).to(self._context.device)
        self.mean_weight = mean_decision_weight(weights, labels)

    @property
    def chance_loss(self) -> float | None:
        """The loss of an untrained head, to which every label is as likely as not; None: not known."""
        plain = self._config.loss == "cross-entropy" and self._class_weights is None and self._config.teacher is None
        return math.log(2) if plain else None

    def _rows(self, labels: torch.Tensor) -> torch.Tensor:
        """The labels, and in a last column whether somebody has labelled the image at all."""
        import torch

        return torch.cat([labels.clamp(min=0), (labels[:, :1] != NO_LABEL).to(labels.dtype)], dim=1)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return (logits / self._temperature).sigmoid()

    def _targets(self, labels: torch.Tensor, taught: torch.Tensor | None) -> Targets:
        """The teacher's share of an image, to have none of the labels included; all of one that nobody labelled.

        Where an image is mixed with one of those, its own targets are those of its labelled part.
        """
        labels, known = labels[:, :-1].contiguous(), labels[:, -1]
        if taught is None:
            return Targets(labels)
        share = self._config.teacher_share * self.mean_weight
        if not self._context.has_unlabelled:
            return Targets(labels, taught, labels.new_full((len(labels),), share))
        return Targets(labels / known.clamp(min=_LEAST)[:, None], taught, share * known + 1.0 - known, known)

    def loss(self, logits: torch.Tensor, targets: Targets, whole: float) -> torch.Tensor:
        own = self._own_loss(logits, targets, whole)
        if targets.taught is None or targets.weights is None:
            return own
        taught = label_distillation_loss(logits, targets.taught, targets.weights, self._temperature, whole)
        return (1.0 - self._config.teacher_share) * own + taught

    def _own_loss(self, logits: torch.Tensor, targets: Targets, whole: float) -> torch.Tensor:
        """That of the labels."""
        if self._config.loss == "asymmetric":
            return asymmetric_loss(logits, targets.labels, known=targets.known, whole=whole)
        return binary_loss(
            logits,
            targets.labels,
            smoothing=smoothing(self._config, multi_label=True),
            positive_weights=self._class_weights,
            known=targets.known,
            whole=whole,
        )
