"""Losses over logits with hard or soft targets, label smoothing and class weights; and mixed batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def soften(labels: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """(N,) class indices -> (N, classes) targets with `smoothing` spread evenly over all classes."""
    import torch

    hard = torch.nn.functional.one_hot(labels, classes).float()
    return hard * (1.0 - smoothing) + smoothing / classes


def target_weight(targets: torch.Tensor, weights: torch.Tensor | None) -> float:
    """What (N, classes) targets weigh together: N, or with class weights their weighted sum."""
    return float(len(targets)) if weights is None else float((targets * weights).sum())


def classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    focal_gamma: float | None,
    weights: torch.Tensor | None,
    whole: float | None = None,
) -> torch.Tensor:
    """Mean cross-entropy of (N, classes) logits against (N, classes) soft targets; focal with a gamma.

    Focal loss weighs each class's term by (1 - p)^gamma (Lin et al., 2017, arXiv:1708.02002). With class weights the
    mean is weighted too, as torch's own cross-entropy does. For part of a batch, `whole` is the `target_weight` of all
    of it: the losses of the parts sum to that of the batch.
    """
    log_p = logits.float().log_softmax(dim=1)
    terms = -targets * log_p
    if focal_gamma is not None:
        terms = terms * (1.0 - log_p.exp()) ** focal_gamma
    if weights is not None:
        terms = terms * weights
    return terms.sum() / (target_weight(targets, weights) if whole is None else whole)


def balanced_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """N / (classes * count) for each class, as scikit-learn's "balanced" (King and Zeng, 2001)."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)


def mix(
    images: torch.Tensor, targets: torch.Tensor, *, mixup: float, cutmix: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """MixUp (arXiv:1710.09412) or CutMix (arXiv:1905.04899), even odds where both are on.

    (N, C, H, W) float pictures and (N, classes) targets, paired with a permutation of themselves.
    """
    import torch

    if not (mixup or cutmix) or len(images) < 2:
        return images, targets
    random = np.random.default_rng(seed)
    partner = torch.from_numpy(random.permutation(len(images)))
    cut = bool(cutmix) and (not mixup or random.random() < 0.5)
    share = float(random.beta(cutmix, cutmix) if cut else random.beta(mixup, mixup))
    if not cut:
        return share * images + (1 - share) * images[partner], share * targets + (1 - share) * targets[partner]
    top, bottom, left, right = _rectangle(images.shape[2], images.shape[3], 1 - share, random)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return mixed, share * targets + (1 - share) * targets[partner]


def _rectangle(height: int, width: int, area: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of the picture's shape and about `area` of it, at a random centre, cut at the edges."""
    side = area**0.5
    y, x = int(random.integers(height)), int(random.integers(width))
    half_y, half_x = int(height * side / 2), int(width * side / 2)
    return max(0, y - half_y), min(height, y + half_y), max(0, x - half_x), min(width, x + half_x)
