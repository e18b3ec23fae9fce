"""The figures are scikit-learn's, or checked by hand where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.auc import auc_per_class, weighted_macro_auc
from edgeclf_runtime.metrics.curves import curves_of
from edgeclf_runtime.metrics.metrics import (
    evaluate,
    expected_calibration_error,
    reliability,
    to_scores,
    weighted_calibration_error,
    weighted_macro_f1,
)

CLASSES = tuple("abcdefg")


@pytest.fixture(scope="module")
def outputs() -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Logits of 300 images that are right about two times in three, with ties among them."""
    random = np.random.default_rng(0)
    labels = random.integers(0, len(CLASSES), 300)
    logits = random.normal(size=(300, len(CLASSES))) + 2 * np.eye(len(CLASSES))[labels]
    return np.round(logits, 1).astype(np.float32), labels


def test_figures_are_scikit_learns(outputs: tuple[NDArray[np.float32], NDArray[np.intp]]) -> None:
    from sklearn import metrics

    logits, labels = outputs
    found = evaluate(logits, labels, CLASSES)
    scores, given = to_scores(logits, "softmax"), logits.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, given)
    assert [each.precision for each in found.per_class] == pytest.approx(precision)
    assert [each.recall for each in found.per_class] == pytest.approx(recall)
    assert [each.f1 for each in found.per_class] == pytest.approx(f1)
    assert [each.support for each in found.per_class] == support.tolist()
    assert found.top1 == pytest.approx((given == labels).mean())
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, given, average="macro"))
    assert found.macro_auc == pytest.approx(metrics.roc_auc_score(labels, scores, multi_class="ovr"))
    assert found.nll == pytest.approx(metrics.log_loss(labels, scores))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, given))


def test_each_interval_holds_its_figure(outputs: tuple[NDArray[np.float32], NDArray[np.intp]]) -> None:
    found = evaluate(*outputs, CLASSES)
    pairs = [
        (found.top1, found.top1_interval),
        (found.macro_f1, found.macro_f1_interval),
        (found.macro_auc, found.macro_auc_interval),
    ]
    for figure, interval in pairs:
        assert figure is not None and interval is not None
        assert interval.low < figure < interval.high


def test_draws_of_the_bootstrap_are_scikit_learns_with_weights(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    from sklearn import metrics

    logits, labels = outputs
    scores, given = to_scores(logits, "softmax"), logits.argmax(axis=1)
    weights = np.random.default_rng(1).multinomial(300, np.full(300, 1 / 300), size=4).astype(float)
    f1, auc = weighted_macro_f1(weights, labels, given), weighted_macro_auc(weights, labels, scores)
    for draw, row in enumerate(weights):
        assert f1[draw] == pytest.approx(metrics.f1_score(labels, given, average="macro", sample_weight=row))
        areas = [metrics.roc_auc_score(labels == i, scores[:, i], sample_weight=row) for i in range(len(CLASSES))]
        assert auc[draw] == pytest.approx(np.mean(areas))


def test_top_5_is_not_applicable_with_5_classes_or_fewer(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    logits, labels = outputs
    few = labels < 5
    assert evaluate(logits[few][:, :5], labels[few], CLASSES[:5]).top5 is None
    best = (logits + np.arange(7) * 1e-4).argsort(axis=1)[:, -5:]
    wanted = (best == labels[:, None]).any(axis=1).mean()
    assert evaluate(logits, labels, CLASSES).top5 == pytest.approx(wanted, abs=0.01)


def test_top_3_lies_between_top_1_and_top_5_and_needs_4_classes(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    logits, labels = outputs
    found = evaluate(logits, labels, CLASSES)
    best = (logits + np.arange(7) * 1e-4).argsort(axis=1)[:, -3:]
    assert found.top3 == pytest.approx((best == labels[:, None]).any(axis=1).mean(), abs=0.01)
    assert found.top3 is not None and found.top5 is not None and found.top1 < found.top3 < found.top5
    few = labels < 3
    assert evaluate(logits[few][:, :3], labels[few], CLASSES[:3]).top3 is None


def test_a_class_without_images_has_no_recall_and_no_auc_and_the_macro_auc_is_missing(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    logits, labels = outputs
    there = labels != 2
    found = evaluate(logits[there], labels[there], CLASSES)
    absent = found.per_class[2]
    assert (absent.support, absent.recall, absent.f1, absent.auc) == (0, None, None, None)
    assert absent.precision == 0.0
    assert found.macro_auc is None and found.macro_auc_interval is None
    assert found.macro_f1 == pytest.approx(np.mean([each.f1 for each in found.per_class if each.f1 is not None]))


def test_calibration_error_by_hand() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])).astype(np.float32)
    found = evaluate(logits, np.array([0, 0, 1, 1]), ["x", "y"])
    assert found.ece == pytest.approx(3 / 4 * abs(2 / 3 - 0.9) + 1 / 4 * abs(0 - 0.6))
    assert sum(each.images for each in found.reliability) == 4


def test_weighted_calibration_error_is_that_of_the_drawn_images() -> None:
    random = np.random.default_rng(0)
    chances = to_scores(random.normal(size=(50, 3)).astype(np.float32), "softmax")
    labels, drawn = random.integers(0, 3, 50), random.integers(0, 50, 50)
    weights = np.stack([np.ones(50), np.bincount(drawn, minlength=50)])
    wanted = [expected_calibration_error(chances, labels), expected_calibration_error(chances[drawn], labels[drawn])]
    assert weighted_calibration_error(weights, chances, labels) == pytest.approx(wanted)


def test_a_sure_prediction_falls_into_the_last_bin() -> None:
    bins = reliability(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0, 0]))
    assert bins[-1].images == 1
    assert len(bins) == 15


def test_calibrated_predictions_have_a_small_calibration_error() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(8000, 4)).astype(np.float32) * 2
    chances = to_scores(logits, "softmax")
    labels = (random.random((8000, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    assert (evaluate(logits, labels, "abcd", auc_interval=False).ece or 1) < 0.02


def test_margins_have_no_calibration_but_all_that_is_about_order(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    found = evaluate(*outputs, CLASSES, scores="margin")
    assert (found.ece, found.nll, found.reliability) == (None, None, ())
    assert found.top1 > 0.5 and found.macro_auc is not None


def test_nan_and_no_images_are_refused(outputs: tuple[NDArray[np.float32], NDArray[np.intp]]) -> None:
    logits, labels = outputs
    broken = logits.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 300 images"):
        evaluate(broken, labels, CLASSES)
    with pytest.raises(DataError, match="no images"):
        evaluate(logits[:0], labels[:0], CLASSES)


def test_thinned_curves_keep_their_ends_and_their_area(outputs: tuple[NDArray[np.float32], NDArray[np.intp]]) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 5000)
    scores = random.normal(size=(5000, 2)) + np.eye(2)[labels]
    for curves in curves_of(scores, labels, ["x", "y"], auc_per_class(scores, labels)):
        x, y = np.array(curves.roc).T
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert len(x) <= 200
        area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
        assert area == pytest.approx(curves.auc, abs=0.005)


def test_of_many_classes_the_curves_with_the_smallest_area_are_kept(
    outputs: tuple[NDArray[np.float32], NDArray[np.intp]],
) -> None:
    logits, labels = outputs
    scores = to_scores(logits, "softmax")
    areas = auc_per_class(scores, labels)
    kept = curves_of(scores, labels, CLASSES, areas, most=3)
    assert len(kept) == 3
    assert sorted(each.auc for each in kept) == sorted(area for area in areas if area is not None)[:3]
