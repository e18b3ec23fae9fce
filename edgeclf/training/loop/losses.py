"""Losses over logits with hard or soft targets, label smoothing and class weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """(N,) class numbers -> (N, classes) float targets; a row of zeros where nobody knows the class (-1)."""
    import torch

    found = torch.nn.functional.one_hot(labels.clamp(min=0), classes).float()
    return found * (labels >= 0).unsqueeze(1)


def soften(targets: torch.Tensor, smoothing: float, class_weights: torch.Tensor | None = None) -> torch.Tensor:
    """(N, classes) one-hot or mixed targets, with `smoothing` of each row's mass spread evenly over all classes.

    With (classes,) weights a row sums to the weight of its true class, not to 1. The spread mass has that weight, too:
    weighed by the classes that it falls on, as torch's cross-entropy with `weight` and `label_smoothing` does, one
    image of a rare class would cost every image of a frequent one more than its own class, and the optimum would
    lie at the rare class. A mixed target is as many losses as it has true classes, each with the weight of its own.
    """
    if class_weights is not None:
        targets = targets * class_weights
    return targets * (1.0 - smoothing) + targets.sum(dim=1, keepdim=True) * (smoothing / targets.shape[1])


def classification_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, focal_gamma: float | None, whole: float | None = None
) -> torch.Tensor:
    """Mean cross-entropy of (N, classes) logits against (N, classes) soft targets; focal with a gamma.

    Focal loss weighs each class's term by (1 - p)^gamma (Lin et al., 2017, arXiv:1708.02002). A row of targets sums to
    the weight of its image; any soft target, such as a teacher's probabilities, takes one by being multiplied with it.
    The sum is divided by `whole`, or else by the weight of all rows, as torch's own cross-entropy does with weights and
    hard targets. For part of a batch, `whole` is that of the batch: the losses of the parts sum to that of the batch.
    """
    log_p = logits.float().log_softmax(dim=1)
    terms = -targets * log_p
    if focal_gamma is not None:
        terms = terms * (1.0 - log_p.exp()) ** focal_gamma
    return terms.sum() / (float(targets.sum()) if whole is None else whole)


def distillation_loss(
    logits: torch.Tensor, taught: torch.Tensor, weights: torch.Tensor, temperature: float, whole: float
) -> torch.Tensor:
    """T^2 KL(teacher || student) in nats, both softened by the temperature T (Hinton et al., 2015, arXiv:1503.02531).

    (N, classes) logits of the student, (N, classes) probabilities of the teacher that T has softened already, and the
    (N,) weights of the images; the sum is divided by `whole`. T^2 keeps gradients as large as those of the labels.
    """
    import torch

    log_p = (logits.float() / temperature).log_softmax(dim=1)
    divergence = (torch.xlogy(taught, taught) - taught * log_p).sum(dim=1)
    return temperature**2 * (weights * divergence).sum() / whole


def balanced_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """N / (classes * count) for each class, as scikit-learn's "balanced" (King and Zeng, 2001)."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)


def mean_weight(weights: NDArray[np.float32], labels: NDArray[np.int64], *, evenly: bool) -> float:
    """Mean class weight of the images of an epoch; `evenly`: a sampler draws every class that has images as often.

    Batches divide by it, not by the weights that they happen to hold: so divided, a batch without a rare class would
    count as much as one with it, and the smaller the batches, the less the weights would do.
    """
    return float(weights[np.unique(labels) if evenly else labels].mean())
