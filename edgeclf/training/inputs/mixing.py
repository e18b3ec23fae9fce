"""Batches in which each image is mixed with another one, and its target with the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def mix(
    images: torch.Tensor, targets: torch.Tensor, *, mixup: float, cutmix: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """MixUp (arXiv:1710.09412) or CutMix (arXiv:1905.04899), even odds where both are on.

    (N, C, H, W) float images and (N, classes) targets, paired with a permutation of themselves.
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
    """A rectangle of the image's shape and about `area` of it, at a random centre, cut at the edges."""
    side = area**0.5
    y, x = int(random.integers(height)), int(random.integers(width))
    half_y, half_x = int(height * side / 2), int(width * side / 2)
    return max(0, y - half_y), min(height, y + half_y), max(0, x - half_x), min(width, x + half_x)
