"""The losses equal their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgeclf.training.inputs.mixing import mix
from edgeclf.training.loop.losses import (
    balanced_weights,
    classification_loss,
    distillation_loss,
    mean_weight,
    one_hot,
    soften,
)

LOGITS = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 5


WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 4.0, 1.0])


def by_hand(
    logits: NDArray[np.floating], labels: list[int], weights: list[float], smoothing: float, gamma: float = 0.0
) -> float:
    """Image by image: its smoothed loss, times the weight of its true class; over the sum of those weights."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        target = np.full(len(row), smoothing / len(row))
        target[label] += 1 - smoothing
        total += weights[label] * float(-(target * (1 - p) ** gamma * np.log(p)).sum())
    return total / sum(weights[label] for label in labels)


def optimum(targets: torch.Tensor, gamma: float | None = None) -> list[float]:
    """(classes,) the one prediction for all images that the loss is smallest at."""
    logits = torch.zeros(targets.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        log_p = logits.log_softmax(0)
        focus = 1.0 if gamma is None else (1 - log_p.exp()) ** gamma
        found = -(targets.double() * focus * log_p).sum() / targets.double().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    prediction = logits.detach().float().expand(len(targets), -1)
    assert float(classification_loss(prediction, targets, focal_gamma=gamma)) == pytest.approx(
        float(loss().detach()), abs=1e-5
    )
    return [float(share) for share in logits.detach().softmax(0)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_cross_entropy_with_smoothing(smoothing: float) -> None:
    wanted = torch.nn.functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    found = classification_loss(LOGITS, soften(one_hot(LABELS, 5), smoothing), focal_gamma=None)
    assert torch.allclose(found, wanted)


def test_class_weights_count_as_in_torch_without_smoothing() -> None:
    wanted = torch.nn.functional.cross_entropy(LOGITS, LABELS, weight=WEIGHTS)
    found = classification_loss(LOGITS, soften(one_hot(LABELS, 5), 0.0, WEIGHTS), focal_gamma=None)
    assert torch.allclose(found, wanted)


@pytest.mark.parametrize("gamma", [None, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_an_image_is_weighed_by_its_true_class_alone(smoothing: float, gamma: float | None) -> None:
    found = classification_loss(LOGITS, soften(one_hot(LABELS, 5), smoothing, WEIGHTS), focal_gamma=gamma)
    wanted = by_hand(LOGITS.numpy(), LABELS.tolist(), WEIGHTS.tolist(), smoothing, gamma or 0.0)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_a_smoothed_weighted_loss_of_two_images_is_the_one_on_paper() -> None:
    """p = 0.8 for the first class of both images; weights 1 and 30, smoothing 0.1: targets 0.95 and 0.05."""
    logits = torch.tensor([[4.0, 1.0], [4.0, 1.0]]).log()
    frequent, rare = -0.95 * np.log(0.8) - 0.05 * np.log(0.2), -0.95 * np.log(0.2) - 0.05 * np.log(0.8)
    targets = soften(one_hot(torch.tensor([0, 1]), 2), 0.1, torch.tensor([1.0, 30.0]))
    found = classification_loss(logits, targets, focal_gamma=None)
    assert float(found) == pytest.approx((1 * frequent + 30 * rare) / 31, rel=1e-6)


@pytest.mark.parametrize("gamma", [None, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("counts", [(60, 2), (15, 1), (40, 40, 1), (100, 5, 2, 1)])
def test_with_balanced_weights_one_prediction_for_all_is_best_at_equal_probabilities(
    counts: tuple[int, ...], smoothing: float, gamma: float | None
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = torch.from_numpy(balanced_weights(labels, len(counts)))
    targets = soften(one_hot(torch.from_numpy(labels), len(counts)), smoothing, weights)
    assert optimum(targets, gamma) == pytest.approx([1 / len(counts)] * len(counts), abs=1e-4)


def test_without_weights_one_prediction_for_all_is_best_at_the_smoothed_share_of_each_class() -> None:
    targets = soften(one_hot(torch.tensor([0] * 60 + [1] * 2), 2), 0.1)
    assert optimum(targets) == pytest.approx([0.9 * 60 / 62 + 0.05, 0.9 * 2 / 62 + 0.05], abs=1e-4)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_mixed_images_keep_the_optimum_of_balanced_weights(mixup: float, cutmix: float) -> None:
    labels = torch.tensor([0] * 60 + [1] * 2)
    weights = torch.from_numpy(balanced_weights(labels.numpy(), 2))
    images = torch.zeros(62, 1, 16, 16)
    mixed = [mix(images, one_hot(labels, 2), mixup=mixup, cutmix=cutmix, seed=seed)[1] for seed in range(40)]
    assert optimum(soften(torch.cat(mixed), 0.1, weights)) == pytest.approx([0.5, 0.5], abs=1e-3)


def test_a_mixed_image_is_as_many_losses_as_it_has_classes_each_with_its_own_weight() -> None:
    mixed = 0.7 * torch.eye(5)[[0]] + 0.3 * torch.eye(5)[[3]]
    found = classification_loss(LOGITS[:1], soften(mixed, 0.1, WEIGHTS), focal_gamma=None)
    first, second = (by_hand(LOGITS[:1].numpy(), [label], [1.0] * 5, 0.1) for label in (0, 3))
    assert float(found) == pytest.approx((0.7 * 1 * first + 0.3 * 4 * second) / (0.7 * 1 + 0.3 * 4), rel=1e-6)


def test_a_teachers_probabilities_are_weighed_by_the_true_class() -> None:
    """A teacher that gives 0.8 to the right one of two classes: its rest isn't weighed by the class it falls on."""
    labels = torch.tensor([0] * 60 + [1] * 2)
    weights = torch.from_numpy(balanced_weights(labels.numpy(), 2))
    teacher = torch.tensor([[0.8, 0.2], [0.2, 0.8]])[labels]
    assert optimum(teacher * weights[labels][:, None]) == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize("evenly", [False, True])
def test_weights_do_as_much_in_small_batches_as_in_large_ones(evenly: bool) -> None:
    """The losses of all batches of an epoch have the mean of the loss of all images, however few a batch holds."""
    labels = np.array([0, 1] * 8 if evenly else [0] * 14 + [1] * 2)
    weights = np.array([0.5, 4.0], np.float32)
    targets = soften(one_hot(torch.from_numpy(labels), 2), 0.1, torch.from_numpy(weights))
    logits = LOGITS[:, :2]
    mean = mean_weight(weights, np.array([0] * 14 + [1] * 2), evenly=evenly)
    assert mean == pytest.approx(2.25 if evenly else 0.9375)
    whole = float(classification_loss(logits, targets, focal_gamma=None))
    parts = [
        classification_loss(logits[at : at + 2], targets[at : at + 2], focal_gamma=None, whole=2 * mean)
        for at in range(0, 16, 2)
    ]
    assert float(torch.stack(parts).mean()) == pytest.approx(whole, rel=1e-6)


def test_focal_loss_equals_its_formula_and_is_cross_entropy_at_gamma_zero() -> None:
    p = LOGITS.softmax(1)[torch.arange(16), LABELS]
    hard = one_hot(LABELS, 5)
    assert torch.allclose(classification_loss(LOGITS, hard, focal_gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())
    plain = classification_loss(LOGITS, hard, focal_gamma=None)
    assert torch.allclose(classification_loss(LOGITS, hard, focal_gamma=0.0), plain)


def test_the_smoothed_loss_is_never_below_the_entropy_of_its_targets() -> None:
    """With smoothing 0.1 and 5 classes no logits get below the entropy of the targets, 0.3897 + … nats."""
    targets = soften(one_hot(torch.tensor([2]), 5), 0.1)
    entropy = float(-(targets * targets.log()).sum())
    best = classification_loss(targets.log(), targets, focal_gamma=None)
    assert float(best) == pytest.approx(entropy, abs=1e-6) and entropy > 0.38


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils import class_weight

    labels = np.array([0] * 10 + [1] * 2 + [2] * 5)
    wanted = class_weight.compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(balanced_weights(labels, 3), wanted)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_distillation_loss_is_the_divergence_from_the_teacher_times_the_squared_temperature(
    temperature: float,
) -> None:
    from scipy.special import rel_entr, softmax

    teacher = 2 * torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    weights = torch.linspace(0.1, 1.0, 16)
    taught = (teacher / temperature).softmax(dim=1)
    found = distillation_loss(LOGITS, taught, weights, temperature, whole=16.0)
    own = softmax(LOGITS.double().numpy() / temperature, axis=1)
    divergence = rel_entr(softmax(teacher.double().numpy() / temperature, axis=1), own).sum(axis=1)
    assert float(found) == pytest.approx(temperature**2 * float((weights.numpy() * divergence).sum()) / 16, rel=1e-5)
    assert float(distillation_loss(teacher, taught, weights, temperature, 16.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_teacher_that_is_sure_gives_no_loss_that_is_not_a_number() -> None:
    taught = torch.eye(5)[LABELS]
    assert torch.isfinite(distillation_loss(LOGITS, taught, torch.ones(16), 1.0, 16.0))


def test_an_image_that_nobody_labelled_costs_nothing_by_its_label() -> None:
    targets = soften(one_hot(torch.tensor([1, -1]), 5), 0.1)
    assert float(targets[1].abs().sum()) == 0.0
    assert torch.allclose(
        classification_loss(LOGITS[:2], targets, focal_gamma=None, whole=2.0),
        classification_loss(LOGITS[:1], targets[:1], focal_gamma=None, whole=2.0),
    )
