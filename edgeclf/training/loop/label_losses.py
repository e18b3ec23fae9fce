"""Losses where an image may have several labels: each label is a decision of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

GAMMA_POSITIVE, GAMMA_NEGATIVE, MARGIN = 1.0, 4.0, 0.05  # timm's defaults
_LEAST_PROBABILITY = 1e-8


def binary_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    smoothing: float = 0.0,
    positive_weights: torch.Tensor | None = None,
    known: torch.Tensor | None = None,
    whole: float,
) -> torch.Tensor:
    """Binary cross-entropy in nats, the mean of an image's labels, summed over the images and divided by `whole`.

    (N, labels) logits and targets of 0..1, between them where images are mixed. Smoothing moves a target by half of it
    towards the other side. Images that have a label weigh as much as `positive_weights` (labels,) says, and smoothing
    leaves them that weight: else an image of a rare label would be worth more for not having it.

    `known` (N,): how much of an image somebody has labelled, 0..1; None: all of each.
    """
    import torch

    positive = targets if positive_weights is None else targets * positive_weights
    negative = 1.0 - targets
    keep, flip = 1.0 - smoothing / 2, smoothing / 2
    softplus = torch.nn.functional.softplus
    values = logits.float()
    terms = (keep * positive + flip * negative) * softplus(-values)
    terms = terms + (keep * negative + flip * positive) * softplus(values)
    return _total(terms, known) / (targets.shape[1] * whole)


def asymmetric_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, known: torch.Tensor | None = None, whole: float
) -> torch.Tensor:
    """Asymmetric loss (Ridnik et al., ICCV 2021, arXiv:2009.14119), summed and divided as `binary_loss` is.

    Labels that are surely absent count little, and not at all below a probability of 0.05. timm's own, which sums or
    averages differently from version to version; so its lines are here.
    """
    import torch

    p = logits.float().sigmoid()
    absent = (1.0 - p + MARGIN).clamp(max=1.0)
    terms = -targets * p.clamp(min=_LEAST_PROBABILITY).log()
    terms = terms - (1.0 - targets) * absent.clamp(min=_LEAST_PROBABILITY).log()
    right = p * targets + absent * (1.0 - targets)
    focus = torch.pow(1.0 - right, GAMMA_POSITIVE * targets + GAMMA_NEGATIVE * (1.0 - targets))
    return _total(terms * focus, known) / (targets.shape[1] * whole)


def _total(terms: torch.Tensor, known: torch.Tensor | None) -> torch.Tensor:
    """The sum of (N, labels) terms, each image's as much as is known of it."""
    return terms.sum() if known is None else (terms.sum(dim=1) * known).sum()


def label_distillation_loss(
    logits: torch.Tensor, taught: torch.Tensor, weights: torch.Tensor, temperature: float, whole: float
) -> torch.Tensor:
    """`distillation_loss` of each label by itself, the mean of an image's labels: T^2 KL of two Bernoulli variables.

    (N, labels) logits of the student, (N, labels) probabilities of the teacher that the temperature T has softened
    already, and the (N,) weights of the images; the sum is divided by `whole`.
    """
    import torch

    values, absent = logits.float() / temperature, 1.0 - taught
    softplus = torch.nn.functional.softplus
    divergence = torch.xlogy(taught, taught) + torch.xlogy(absent, absent)
    divergence = divergence + taught * softplus(-values) + absent * softplus(values)
    return temperature**2 * (weights * divergence.mean(dim=1)).sum() / whole


def positive_weights(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """(labels,) images without a label for each that has it, so that both sides weigh as much; 1 where one is empty."""
    having = targets.sum(axis=0)
    lacking = len(targets) - having
    return np.where((having > 0) & (lacking > 0), lacking / np.maximum(having, 1), 1.0).astype(np.float32)


def mean_decision_weight(weights: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Mean weight of a label of an image, which batches are divided by: it has its weight where it is there, else 1."""
    return float((1.0 + (weights - 1.0) * targets).mean())
