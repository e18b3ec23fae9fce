"""Figures for several labels an image equal scikit-learn's, and intervals follow the images that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.auc import auc_per_class
from edgeclf_runtime.metrics.average_precision import mean_average_precision, weighted_mean_average_precision
from edgeclf_runtime.metrics.curves import curves_of
from edgeclf_runtime.metrics.intervals import Resampling
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import evaluate_labels, weighted_macro_f1
from edgeclf_runtime.metrics.paired_labels import map_change
from edgeclf_runtime.metrics.temperature import fit_label_temperature

CLASSES = ("blue", "green", "red", "never")


@pytest.fixture
def drawn() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """60 images, some with equal scores; nothing is "never"."""
    random = np.random.default_rng(3)
    targets = (random.random((60, 4)) < (0.5, 0.3, 0.1, 0.0)).astype(np.float32)
    logits = np.round(random.normal(size=(60, 4)) + 1.5 * targets - 0.5, 1).astype(np.float32)
    return logits, targets


def test_figures_equal_those_of_scikit_learn(drawn: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    from sklearn import metrics as reference
    from sklearn.calibration import calibration_curve

    logits, targets = drawn
    thresholds = (0.4, 0.6, 0.3, 0.9)
    found = evaluate_labels(logits, targets, CLASSES, thresholds=thresholds)
    p = to_scores(logits, "sigmoid")
    predicted, there = p >= np.array(thresholds), slice(0, 3)
    average = reference.average_precision_score(targets[:, there], p[:, there], average=None)
    assert [each.average_precision for each in found.per_label] == [*map(pytest.approx, average), None]
    assert found.mean_average_precision == pytest.approx(average.mean())
    assert found.micro_f1 == pytest.approx(reference.f1_score(targets, predicted, average="micro"))
    assert found.macro_f1 == pytest.approx(
        reference.f1_score(targets[:, there], predicted[:, there], average="macro", zero_division=0)
    )
    assert found.micro_precision == pytest.approx(reference.precision_score(targets, predicted, average="micro"))
    assert found.micro_recall == pytest.approx(reference.recall_score(targets, predicted, average="micro"))
    assert found.exact_match == pytest.approx(reference.accuracy_score(targets, predicted))
    assert found.hamming_loss == pytest.approx(reference.hamming_loss(targets, predicted))
    assert found.macro_auc == pytest.approx(reference.roc_auc_score(targets[:, there], p[:, there], average="macro"))
    for number, each in enumerate(found.per_label[there]):
        right, given = targets[:, number], predicted[:, number]
        assert each.precision == pytest.approx(reference.precision_score(right, given))
        assert each.recall == pytest.approx(reference.recall_score(right, given))
        assert each.f1 == pytest.approx(reference.f1_score(right, given))
        assert each.auc == pytest.approx(reference.roc_auc_score(right, p[:, number]))
        shares, means = calibration_curve(right, p[:, number], n_bins=15)
        sizes = np.histogram(p[:, number], bins=15, range=(0, 1))[0]
        assert each.ece == pytest.approx(np.abs(shares - means) @ sizes[sizes > 0] / 60)
    never = found.per_label[3]
    assert (never.support, never.recall, never.f1, never.auc) == (0, None, None, None)
    assert found.without_label == int((targets.sum(axis=1) == 0).sum())


def test_a_draw_counts_an_image_as_often_as_it_was_drawn(
    drawn: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    logits, targets = drawn
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60))
    repeated = np.repeat(np.arange(60), weights)
    again = evaluate_labels(logits[repeated], targets[repeated], CLASSES)
    p, right = to_scores(logits, "sigmoid"), targets > 0
    rows = weights[np.newaxis].astype(np.float64)
    assert weighted_mean_average_precision(rows, p, right)[0] == pytest.approx(again.mean_average_precision)
    assert weighted_macro_f1(rows, right, p >= 0.5)[0] == pytest.approx(again.macro_f1)


def test_intervals_hold_the_figure_and_groups_widen_them(
    drawn: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    logits, targets = (np.repeat(each, 4, axis=0) for each in drawn)
    groups = [f"film {number // 4}" for number in range(len(logits))]
    alone, together = (evaluate_labels(logits, targets, CLASSES, groups=each) for each in (None, groups))
    assert (alone.groups, together.groups) == (None, 60)
    widths = []
    for found in (alone, together):
        interval, value = found.mean_average_precision_interval, found.mean_average_precision
        assert interval is not None and value is not None and interval.low < value < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.5 * widths[0]


def test_an_interval_of_few_images_with_many_labels_holds_its_figure() -> None:
    """All draws but a few lie above it: images that are drawn twice raise the precision."""
    random = np.random.default_rng(7)
    targets, logits = random.random((20, 60)) < 0.1, random.normal(size=(20, 60))
    value = mean_average_precision(logits, targets)
    drawn = Resampling(20).interval(lambda weights: weighted_mean_average_precision(weights, logits, targets))
    found = evaluate_labels(logits, targets, [f"label {number}" for number in range(60)])
    interval = found.mean_average_precision_interval
    assert value is not None and drawn is not None and interval is not None
    assert interval.low < value < interval.high and drawn.low > value
    change = map_change(np.zeros(targets.shape), logits, targets, Resampling(20))
    assert change.interval is not None and change.interval.low < 100 * change.change < change.interval.high
    assert change.lower < change.change < change.upper


def test_curves_and_areas_of_one_label_an_image_are_the_same_either_way() -> None:
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 3, 40), random.random((40, 3))
    areas = auc_per_class(scores, labels)
    assert areas == auc_per_class(scores, np.eye(3)[labels])
    assert curves_of(scores, labels, "abc", areas) == curves_of(scores, np.eye(3)[labels], "abc", areas)


def test_no_images_and_broken_outputs_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        evaluate_labels(np.zeros((0, 2)), np.zeros((0, 2)), "ab")
    with pytest.raises(DataError, match="NaN or infinite outputs for 1 of 2"):
        evaluate_labels(np.array([[0, np.nan], [1, 1]]), np.ones((2, 2)), "ab")


def test_the_temperature_of_labels_is_the_likeliest_and_counts_images() -> None:
    random = np.random.default_rng(0)
    z = random.normal(0, 2, (3000, 3))
    targets = random.random(z.shape) < 1 / (1 + np.exp(-z))
    found = fit_label_temperature(z * 3, targets)  # three times too sure
    assert found.temperature == pytest.approx(3, rel=0.05) and found.nll_after < found.nll_before
    assert found.images == 3000 and found.wrong == ((z > 0) != targets).any(axis=1).sum()
    assert fit_label_temperature(z, z > 0).temperature == 1  # nothing is wrong: how sure it may be is not known
