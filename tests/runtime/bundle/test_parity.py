"""Parity by hand on a few images, and by independent computation on many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.bundle.parity import Parity, RowPredictions, parity_of
from edgeclf_runtime.metrics.metrics import Scores, evaluate, to_scores
from edgeclf_runtime.metrics.paired import change_bounds

CLASSES = ("x", "y", "z")


def evaluated(logits: NDArray[np.float32], labels: NDArray[np.intp], scores: Scores = "softmax") -> RowPredictions:
    return RowPredictions(
        to_scores(logits, scores), evaluate(logits, labels, CLASSES, scores=scores, auc_interval=False)
    )


def compared(
    row: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.intp],
    *,
    groups: list[str | None] | None = None,
    margin_points: float = 1.0,
    scores: Scores = "softmax",
) -> Parity:
    return parity_of(
        evaluated(row, labels, scores),
        evaluated(reference, labels, scores),
        labels,
        name="reference",
        digest="0",
        groups=groups,
        margin_points=margin_points,
    )


def logits_of(predicted: list[int]) -> NDArray[np.float32]:
    return (4 * np.eye(3)[predicted]).astype(np.float32)


def many(images: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Logits that are right about three times in four."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, images)
    return (random.normal(size=(images, 3)) + 2 * np.eye(3)[labels]).astype(np.float32), labels


def test_counts_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    reference = logits_of([0, 0, 1, 0, 2, 2, 0, 1])  # right: 5 of 8
    row = logits_of([0, 1, 1, 1, 2, 2, 1, 1])  # the second lost, the fourth gained, the seventh wrong otherwise
    found = compared(row, reference, labels)
    assert (found.right_to_wrong, found.wrong_to_right) == (1, 1)
    assert found.flips == pytest.approx(2 / 8)
    assert found.agreement == pytest.approx(5 / 8)
    assert found.change_points == 0.0
    assert (found.worst_class, found.worst_class_change_points) == ("x", -50.0)
    assert found.mcnemar_p == 1.0
    assert found.verdict == "inconclusive" and found.images_needed is not None
    assert str(found.images_needed) in found.reason


def test_divergences_are_scipys() -> None:
    from scipy.special import rel_entr, softmax

    reference, labels = many(500)
    row = (reference + np.random.default_rng(1).normal(0, 0.3, reference.shape)).astype(np.float32)
    wanted = rel_entr(softmax(reference.astype(float), axis=1), softmax(row.astype(float), axis=1)).sum(axis=1)
    found = compared(row, reference, labels)
    assert found.mean_kl == pytest.approx(wanted.mean(), rel=1e-5)
    assert found.p99_kl == pytest.approx(np.percentile(wanted, 99), rel=1e-5)


def test_margins_have_no_divergence_and_no_calibration() -> None:
    reference, labels = many(50)
    found = compared(reference, reference, labels, scores="margin")
    assert (found.mean_kl, found.p99_kl, found.ece_change) == (None, None, None)


def test_changes_of_figures_are_those_of_the_two_evaluations() -> None:
    from sklearn.metrics import f1_score

    reference, labels = many(400)
    row = (reference + np.random.default_rng(1).normal(0, 0.5, reference.shape)).astype(np.float32)
    found = compared(row, reference, labels)
    wanted = [f1_score(labels, logits.argmax(axis=1), average="macro") for logits in (row, reference)]
    assert found.macro_f1_change == pytest.approx(wanted[0] - wanted[1])
    recalls = [[(logits.argmax(axis=1) == labels)[labels == i].mean() for i in range(3)] for logits in (row, reference)]
    assert found.worst_class_change_points == pytest.approx(100 * min(np.subtract(*recalls)))


def test_the_same_predictions_pass_with_enough_images_and_no_interval_pretends_to_be_sure() -> None:
    logits, labels = many(2000)
    found = compared(logits, logits, labels, margin_points=0.5)
    assert (found.verdict, found.images_needed) == ("pass", None)
    assert found.change_interval_points is None
    assert found.lower_bound_points < 0


def test_a_planted_paired_drop_of_one_point_fails() -> None:
    logits, labels = many(3_000)
    right = np.flatnonzero(logits.argmax(axis=1) == labels)
    worse = logits.copy()
    lost = right[:: len(right) // 30][:30]  # one point of all images
    worse[lost, labels[lost]] = -9.0
    found = compared(worse, logits, labels, margin_points=0.5)
    assert found.change_points == pytest.approx(-1.0)
    assert found.verdict == "fail"
    assert found.mcnemar_p < 1e-6


def test_groups_widen_the_bounds() -> None:
    logits, labels = many(1000)
    row = logits.copy()
    row[:40] = np.roll(row[:40], 1, axis=1)  # all in two groups
    row[-40:] = np.roll(row[-40:], 1, axis=1)
    alone = compared(row, logits, labels)
    together = compared(row, logits, labels, groups=[str(i // 20) for i in range(1000)])
    assert together.lower_bound_points < alone.lower_bound_points


def test_groups_without_any_change_count_as_single_images() -> None:
    logits, labels = many(400)
    together = compared(logits, logits, labels, groups=[str(i // 100) for i in range(400)])
    assert together.lower_bound_points < -20
    assert together.verdict == "inconclusive"


def test_an_interval_of_two_one_sided_bounds_is_called_one_of_90_percent_and_names_its_images() -> None:
    logits, labels = many(600)
    row = logits.copy()
    row[:9] = np.roll(row[:9], 1, axis=1)
    found = compared(row, logits, labels)
    assert found.verdict == "inconclusive"
    right, wanted = (each.argmax(axis=1) == labels for each in (row, logits))
    low, high = change_bounds(int((wanted & ~right).sum()), int((right & ~wanted).sum()), 600)
    assert f"{100 * low:+.2f} to {100 * high:+.2f} points (90 %: each end is a one-sided 95 % bound" in found.reason
    assert "600 images, 1 prediction is 0.17 points" in found.reason


def test_a_bound_that_decides_alone_is_called_one_sided() -> None:
    logits, labels = many(2000)
    assert "(one-sided 95 %; 2000 images, 1 prediction is 0.05 points)" in compared(logits, logits, labels).reason


@pytest.mark.parametrize(("noise", "expected"), [(1e-6, "pass"), (0.01, "inconclusive")])
def test_logits_within_the_limits_of_fp32_prove_more_than_few_labels(noise: float, expected: str) -> None:
    reference, labels = many(60)
    row = (reference + np.random.default_rng(1).normal(0, noise, reference.shape)).astype(np.float32)
    sides = [replace(evaluated(logits, labels), outputs=logits) for logits in (row, reference)]
    found = parity_of(*sides, labels, name="reference", digest="0")
    assert (found.verdict, found.same_logits) == (expected, expected == "pass")
    assert found.logits is not None and found.logits.max_relative == pytest.approx(noise, rel=4)
    assert ("its logits are the reference's on all 60 images" in found.reason) == found.same_logits
