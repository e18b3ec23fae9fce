"""Temperature and thresholds: what was planted is found, what was wanted is reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf.evaluation.thresholds import Wanted, fit_thresholds, parse_wanted
from edgeclf_benchmarks.measuring.thresholds import passes
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.metrics.intervals import wilson
from edgeclf_runtime.metrics.metrics import negative_log_likelihood, to_scores
from edgeclf_runtime.metrics.temperature import fit_temperature


def simulate(images: int, temperature: float = 1.0, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits whose softmax at `temperature` is calibrated, and the labels drawn from it."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(images, 5)) * 2.5
    chances = to_scores(logits, "softmax").cumsum(axis=1)
    labels = (random.random((images, 1)) > chances).sum(axis=1).clip(max=4)
    return logits * temperature, labels


def most_likely(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """The temperature of the smallest negative log-likelihood, without prior or validation."""
    low, high = 0.05, 20.0
    for _ in range(3):
        tried = np.geomspace(low, high, 30)
        best = int(np.argmin([negative_log_likelihood(logits, labels, each) for each in tried]))
        low, high = tried[max(best - 1, 0)], tried[min(best + 1, 29)]
    return float(tried[best])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_with_thousands_of_images_the_temperature_is_the_most_likely_one(temperature: float) -> None:
    logits, labels = simulate(5_000, temperature)
    fit = fit_temperature(logits, labels)
    assert fit.temperature == pytest.approx(most_likely(logits, labels), rel=0.01)
    assert fit.temperature == pytest.approx(temperature, rel=0.05)
    assert fit.caution is None and (fit.nll_after < fit.nll_before or temperature == 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_likelihood_is_never_worse(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(30, 4)) * random.choice([0.1, 1, 30])).astype(np.float32)
    labels = random.integers(0, 4, 30)
    fit = fit_temperature(logits, labels)
    assert negative_log_likelihood(logits, labels, fit.temperature) <= negative_log_likelihood(logits, labels) + 1e-9
    assert fit.temperature == 1 or fit.nll_after < fit.nll_before


def few(wrong: int, images: int = 54) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits of a network of ten classes as label smoothing leaves them, nearly all of them right."""
    labels = np.arange(images) % 10
    logits = np.random.default_rng(0).normal(size=(images, 10)) * 0.5
    logits[np.arange(images), labels] += 4.4
    labels[:wrong] = (labels[:wrong] + 1) % 10
    return logits, labels


def test_few_images_that_are_all_right_leave_the_temperature_at_1_and_say_how_many_would_do() -> None:
    assert most_likely(*few(0)) == pytest.approx(0.05)
    fit = fit_temperature(*few(0))
    assert fit.temperature == 1
    assert fit.caution is not None and "none of 54 images" in fit.caution and "about 560 " in fit.caution


def test_one_error_in_few_images_moves_the_temperature_little() -> None:
    fit = fit_temperature(*few(1))
    assert 0.7 < fit.temperature <= 1 and fit.wrong == 1


def test_the_temperature_of_a_network_that_learned_nothing_rises_no_further_than_few_images_show() -> None:
    random = np.random.default_rng(1)
    logits, labels = 0.1 * random.normal(size=(54, 10)), random.integers(0, 10, 54)
    assert most_likely(logits, labels) == pytest.approx(20)
    assert fit_temperature(logits, labels).temperature < 2


def test_a_single_image_has_no_temperature() -> None:
    assert fit_temperature(np.eye(3)[:1], np.array([1])).temperature == 1


def test_thresholds_from_few_images_report_their_interval_and_reject_what_is_less_sure_than_any_seen() -> None:
    logits, labels = few(0)
    scores = to_scores(logits, "softmax")
    point = fit_thresholds(scores, labels, Wanted("precision", 0.95))
    least = point.thresholds.unknown_below
    assert point.answered == 1 and least is not None and 0.5 < least < scores.max(axis=1).min()
    assert point.caution is not None and point.images_needed is not None
    assert "0 of them predicted wrongly" in point.caution and "0.934 to 1.000" in point.caution
    enough = fit_thresholds(*_repeated(scores, labels, point.images_needed), Wanted("precision", 0.95))
    assert enough.caution is None


def _repeated(scores: NDArray[np.float64], labels: NDArray[np.intp], images: int) -> tuple[Any, Any]:
    chosen = np.arange(images) % len(labels)
    return scores[chosen], labels[chosen]


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("share", [0.8, 0.9, 0.95])
def test_a_wanted_precision_is_reached_on_other_images(share: float, per_class: bool) -> None:
    logits, labels = simulate(6000)
    point = fit_thresholds(to_scores(logits, "softmax"), labels, Wanted("precision", share), per_class=per_class)
    assert point.precision is not None and point.precision >= share
    assert point.missed == ()
    others, truth = simulate(6000, seed=1)
    scores = to_scores(others, "softmax")
    known = passes(scores, point.thresholds)
    assert known is not None
    right = int((scores.argmax(axis=1) == truth)[known].sum())
    assert wilson(right, int(known.sum())).high >= share
    assert known.mean() == pytest.approx(point.answered, abs=0.05)


def test_no_lower_threshold_would_do() -> None:
    logits, labels = simulate(3000)
    scores = to_scores(logits, "softmax")
    point = fit_thresholds(scores, labels, Wanted("precision", 0.9))
    least = point.thresholds.unknown_below
    assert least is not None
    best, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    for lower in best[best < least]:
        assert right[best >= lower].mean() < 0.9


def test_a_wanted_recall_is_reached_with_the_highest_threshold() -> None:
    logits, labels = simulate(3000)
    scores = to_scores(logits, "softmax")
    point = fit_thresholds(scores, labels, Wanted("recall", 0.5))
    assert 0.5 <= point.recall < 0.502
    each = fit_thresholds(scores, labels, Wanted("recall", 0.5), per_class=True)
    known, given = passes(scores, each.thresholds), scores.argmax(axis=1)
    assert known is not None
    for number in range(5):
        assert ((given == number) & known)[labels == number].mean() >= 0.5


def test_classes_that_reach_no_threshold_are_reported() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    labels = np.array([1, 1, 1])
    point = fit_thresholds(scores, labels, Wanted("precision", 0.9), per_class=True)
    assert point.missed == (0,)
    known = passes(scores, point.thresholds)
    assert known is not None and known.tolist() == [False, False, True]
    assert fit_thresholds(scores, labels, Wanted("recall", 0.9)).missed == (-1,)


def test_margins_have_thresholds_too() -> None:
    logits, labels = simulate(2000)
    point = fit_thresholds(logits - 10, labels, Wanted("precision", 0.9))
    assert point.precision is not None and point.precision >= 0.9
    everything = fit_thresholds(logits - 10, labels, Wanted("precision", 0.1))
    assert everything.answered == 1.0


@pytest.mark.parametrize("text", ["0.9", "precision", "f1=0.9", "precision=2", "recall=0", "precision=x"])
def test_an_operating_point_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_wanted(text)


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError):
        fit_temperature(np.empty((0, 3)), np.empty(0, dtype=np.intp))
    with pytest.raises(DataError):
        fit_thresholds(np.empty((0, 3)), np.empty(0, dtype=np.intp), parse_wanted("precision=0.9"))
