"""The losses equal their definitions, and mixed batches stay what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeclf.training.losses import balanced_weights, classification_loss, mix, soften

LOGITS = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_cross_entropy_with_smoothing(smoothing: float) -> None:
    wanted = torch.nn.functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    found = classification_loss(LOGITS, soften(LABELS, 5, smoothing), focal_gamma=None, weights=None)
    assert torch.allclose(found, wanted)


def test_class_weights_count_as_in_torch() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 4.0, 1.0])
    wanted = torch.nn.functional.cross_entropy(LOGITS, LABELS, weight=weights)
    assert torch.allclose(
        classification_loss(LOGITS, soften(LABELS, 5, 0.0), focal_gamma=None, weights=weights), wanted
    )


def test_focal_loss_equals_its_formula_and_is_cross_entropy_at_gamma_zero() -> None:
    p = LOGITS.softmax(1)[torch.arange(16), LABELS]
    hard = soften(LABELS, 5, 0.0)
    assert torch.allclose(
        classification_loss(LOGITS, hard, focal_gamma=2.0, weights=None), (-((1 - p) ** 2) * p.log()).mean()
    )
    plain = classification_loss(LOGITS, hard, focal_gamma=None, weights=None)
    assert torch.allclose(classification_loss(LOGITS, hard, focal_gamma=0.0, weights=None), plain)


def test_smoothed_loss_has_the_floor_that_theory_gives() -> None:
    """With smoothing 0.1 and 5 classes no logits get below the entropy of the targets, 0.3897 + … nats."""
    targets = soften(torch.tensor([2]), 5, 0.1)
    entropy = float(-(targets * targets.log()).sum())
    best = classification_loss(targets.log(), targets, focal_gamma=None, weights=None)
    assert float(best) == pytest.approx(entropy, abs=1e-6) and entropy > 0.38


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils import class_weight

    labels = np.array([0] * 10 + [1] * 2 + [2] * 5)
    wanted = class_weight.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(balanced_weights(labels, 3), wanted)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_targets_stay_distributions_and_mixing_repeats_with_its_seed(mixup: float, cutmix: float) -> None:
    images, targets = torch.rand(8, 3, 12, 10), soften(torch.arange(8) % 5, 5, 0.0)
    mixed, wanted = mix(images, targets, mixup=mixup, cutmix=cutmix, seed=3)
    again, _ = mix(images, targets, mixup=mixup, cutmix=cutmix, seed=3)
    assert torch.allclose(wanted.sum(1), torch.ones(8)) and torch.equal(mixed, again)
    assert mixed.shape == images.shape


def test_cutmix_labels_follow_the_area_that_was_pasted() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 20, 20).contiguous()
    targets = torch.eye(6)
    for seed in range(20):
        mixed, wanted = mix(images, targets, mixup=0.0, cutmix=1.0, seed=seed)
        for row in range(6):
            own = float((mixed[row, 0] == row).float().mean())
            assert float(wanted[row, row]) == pytest.approx(own, abs=1e-6)
