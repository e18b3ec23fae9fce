"""Losses of several labels an image equal those of torch and timm; weights and smoothing do what they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeclf.training.inputs.batches import TrainingImages
from edgeclf.training.loop.label_losses import (
    asymmetric_loss,
    binary_loss,
    label_distillation_loss,
    mean_decision_weight,
    positive_weights,
)
from edgeclf.training.loop.scores import score
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.images.labelled import LabelledImage

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(8, 3, generator=GENERATOR) * 3
TARGETS = (torch.rand(8, 3, generator=GENERATOR) < 0.4).float()
MIXED = 0.3 * TARGETS + 0.7 * TARGETS.flip(0)
WEIGHTS = torch.tensor([1.0, 4.0, 9.0])
bce = torch.nn.functional.binary_cross_entropy_with_logits


@pytest.mark.parametrize("targets", [TARGETS, MIXED], ids=["hard", "mixed"])
def test_binary_loss_is_that_of_torch_and_parts_sum_to_it(targets: torch.Tensor) -> None:
    assert torch.allclose(binary_loss(LOGITS, targets, whole=8), bce(LOGITS, targets))
    found = binary_loss(LOGITS, targets, positive_weights=WEIGHTS, whole=8)
    assert torch.allclose(found, bce(LOGITS, targets, pos_weight=WEIGHTS))
    smooth = binary_loss(LOGITS, targets, smoothing=0.2, whole=8)
    assert torch.allclose(smooth, bce(LOGITS, 0.8 * targets + 0.1))
    parts = [binary_loss(LOGITS[part], targets[part], whole=8) for part in (slice(0, 3), slice(3, 8))]
    assert torch.allclose(sum(parts), bce(LOGITS, targets))  # type: ignore[arg-type]


def test_smoothing_makes_no_absent_label_likely_however_rare_it_is() -> None:
    logits = torch.logit(torch.full((1, 1), 0.05)).requires_grad_()  # where smoothing by 0.1 wants an absent label
    absent, weights = torch.zeros(1, 1), torch.tensor([50.0])
    binary_loss(logits, absent, smoothing=0.1, positive_weights=weights, whole=1).backward()
    assert logits.grad is not None and abs(logits.grad.item()) < 1e-6
    logits.grad = None
    bce(logits, absent + 0.05, pos_weight=weights).backward()  # torch's weight is on the smoothed part, too
    assert logits.grad.item() < -1


def test_asymmetric_loss_is_that_of_timm() -> None:
    guard_torchvision()
    from timm.loss import AsymmetricLossMultiLabel

    for targets in (TARGETS, MIXED):
        each = [AsymmetricLossMultiLabel()(LOGITS[i : i + 1], targets[i : i + 1]) for i in range(8)]
        found = asymmetric_loss(LOGITS, targets, whole=8)
        assert torch.allclose(found, torch.stack(each).sum() / (3 * 8))


def test_positive_weights_balance_both_sides() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], dtype=np.float32)
    weights = positive_weights(targets)
    assert weights.tolist() == [3.0, 1.0, 1.0]
    assert mean_decision_weight(weights, targets) == pytest.approx((12 + 2) / 12)


def test_the_weighted_sampler_draws_rare_labels_and_bare_images_as_often() -> None:
    targets = np.zeros((100, 2), dtype=np.float32)
    targets[:90, 0] = 1
    targets[:5, 1] = 1  # the rarer one of an image counts
    blank = LabelledImage(Path(), "blank.png", ())
    images = TrainingImages(tuple(replace(blank, name=f"{i}.png") for i in range(100)), targets)
    drawn = np.concatenate([images.order(seed, weighted=True) for seed in range(20)])
    shares = [(drawn < 5).mean(), (drawn >= 90).mean()]
    assert shares == pytest.approx([1 / (1 + 1 + 85 / 90)] * 2, abs=0.04)


def test_scores_of_an_epoch_are_loss_map_and_macro_f1() -> None:
    from sklearn.metrics import average_precision_score, f1_score

    logits, targets = LOGITS.numpy(), TARGETS.numpy()
    blank = LabelledImage(Path(), "blank.png", ())
    found = score(logits, TrainingImages((blank,) * 8, targets))
    assert found["val_loss"] == pytest.approx(float(bce(LOGITS, TARGETS)), rel=1e-5)
    assert found["val_map"] == pytest.approx(average_precision_score(targets, logits, average="macro"))
    assert found["val_macro_f1"] == pytest.approx(f1_score(targets, logits >= 0, average="macro", zero_division=0))


def test_the_loss_of_a_teacher_is_its_divergence_from_the_student_and_none_between_equals() -> None:
    taught, weights = torch.sigmoid(LOGITS.flip(0) / 2), torch.full((8,), 0.5)
    found = label_distillation_loss(LOGITS, taught, weights, 2.0, 8.0)
    own, other = (torch.distributions.Bernoulli(probs=p.double()) for p in (torch.sigmoid(LOGITS / 2), taught))
    wanted = 4 * 0.5 * torch.distributions.kl_divergence(other, own).mean()
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)
    assert float(label_distillation_loss(LOGITS, torch.sigmoid(LOGITS / 2), weights, 2.0, 8.0)) == pytest.approx(
        0, abs=1e-5
    )


def test_an_image_counts_with_its_labels_as_much_as_is_known_of_it() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    known = torch.tensor([1.0, 0.0, 0.25, 1.0])
    for loss in (binary_loss, asymmetric_loss):
        alone = [loss(logits[place : place + 1], targets[place : place + 1], whole=4.0) for place in range(4)]
        wanted = sum(share * each for share, each in zip(known, alone, strict=True))
        assert loss(logits, targets, known=known, whole=4.0) == pytest.approx(float(wanted))
