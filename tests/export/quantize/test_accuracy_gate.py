"""The accuracy gate: small drops pass, large ones fail, and what the images can not show is inconclusive."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_export.proof.measured import measured_tolerances
from edgeclf_export.quantize.accuracy_gate import (
    evaluate_step,
    images_that_prove,
    provable_points,
    too_few_to_pass,
)
from edgeclf_export.quantize.evaluation_set import EvaluationSet
from edgeclf_runtime.bundle.quantization_report import AccuracyGate


def evaluation_set(images: int, *, labelled: bool = True) -> EvaluationSet:
    """Five classes; the reference is right on nine of ten images, and as sure as it should be."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, images)
    logits = random.normal(0, 0.3, (images, 5)).astype(np.float32)
    predicted = np.where(np.arange(images) % 10 == 0, (labels + 1) % 5, labels)
    logits[np.arange(images), predicted] += 3.6
    return EvaluationSet(logits, labels if labelled else None, 1.0, None, "validation")


def flipped(found: EvaluationSet, wrong: int) -> NDArray[np.float32]:
    """The reference's logits with its first `wrong` right predictions changed to another class."""
    logits = found.reference.copy()
    right = np.flatnonzero(logits.argmax(axis=1) == found.right)[:wrong]
    logits[right] = np.roll(logits[right], 1, axis=1)
    return logits


def test_the_same_predictions_pass_with_enough_images() -> None:
    found = evaluation_set(1000)
    evaluation = evaluate_step(found, found.reference, AccuracyGate(1.0))
    assert evaluation.verdict == "pass" and evaluation.change_points == 0 and evaluation.bound_points < 0


def test_the_same_predictions_are_inconclusive_with_few_images_and_the_number_needed_is_reported() -> None:
    found = evaluation_set(40)
    evaluation = evaluate_step(found, found.reference, AccuracyGate(1.0))
    assert evaluation.verdict == "inconclusive"
    assert evaluation.images_needed is not None and evaluation.images_needed > 200
    assert too_few_to_pass(40, AccuracyGate(1.0), 0.9) and not too_few_to_pass(1000, AccuracyGate(1.0), 0.9)


def test_a_drop_beyond_the_margin_fails() -> None:
    found = evaluation_set(1000)
    evaluation = evaluate_step(found, flipped(found, 30), AccuracyGate(1.0))
    assert evaluation.verdict == "fail" and evaluation.right_to_wrong == 30
    assert "top-1 fell by 3.00 points" in evaluation.reasons[0]


def test_a_drop_within_the_margin_whose_bound_is_beyond_it_is_inconclusive() -> None:
    found = evaluation_set(1000)
    evaluation = evaluate_step(found, flipped(found, 8), AccuracyGate(1.0))
    assert evaluation.verdict == "inconclusive" and evaluation.bound_points < -1.0 < evaluation.change_points


def test_one_prediction_of_too_few_images_is_no_failure_and_several_are() -> None:
    few = evaluation_set(54)
    near = few.reference.copy()
    rows = np.flatnonzero(near.argmax(axis=1) == few.right)[:4]
    near[rows, (few.right[rows] + 1) % 5] = near[rows, few.right[rows]] - 0.1  # near ties, which tip over easily
    few, tipped = replace(few, reference=near), near.copy()
    tipped[rows, few.right[rows]] -= 0.2
    evaluation = evaluate_step(few, np.concatenate([tipped[: rows[0] + 1], near[rows[0] + 1 :]]), AccuracyGate(1.0))
    assert evaluation.verdict == "inconclusive" and evaluation.change_points == pytest.approx(-100 / 54)
    assert "changed by -1.85 points, more than the 1.00 tolerated, but " in evaluation.reasons[0]
    assert evaluate_step(few, tipped, AccuracyGate(1.0)).verdict == "fail"


@pytest.mark.parametrize("points", [0.5, 1.0, 5.0])
def test_the_number_of_images_that_is_reported_as_enough_passes_the_gate(points: float) -> None:
    enough = images_that_prove(AccuracyGate(points))
    assert enough is not None and provable_points(enough) < points <= provable_points(enough - 1)
    same = evaluation_set(enough)
    assert evaluate_step(same, same.reference, AccuracyGate(points)).verdict == "pass"


def test_confidences_that_changed_fail_although_top1_is_the_same() -> None:
    found = evaluation_set(1000)
    sharpened = found.reference.copy()
    sharpened[::2] *= 6
    evaluation = evaluate_step(found, sharpened, AccuracyGate(1.0))
    assert evaluation.change_points == 0 and evaluation.verdict == "fail"
    assert any("KL" in reason for reason in evaluation.reasons)


def miscalibrated(images: int, seed: int, spread: float) -> tuple[EvaluationSet, NDArray[np.float32]]:
    """A calibrated reference, and logits that differ from its by noise of `spread`."""
    random = np.random.default_rng(seed)
    logits = 2.5 * random.normal(size=(images, 5)).astype(np.float32)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random((images, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    noisy = logits + spread * random.normal(size=logits.shape).astype(np.float32)
    return EvaluationSet(logits, labels, 1.0, None, "validation"), noisy


def test_a_calibration_error_within_the_noise_of_few_images_does_not_fail() -> None:
    evaluation = [evaluate_step(*miscalibrated(90, seed, 0.25), AccuracyGate(20.0)) for seed in range(20)]
    assert any(each.ece - each.ece_reference > 0.03 for each in evaluation if each.ece and each.ece_reference)
    assert not any("ECE" in reason for each in evaluation for reason in each.reasons)


def test_a_calibration_error_that_rose_fails() -> None:
    found, _ = miscalibrated(1500, 0, 0.0)
    uneven = found.reference.copy()
    uneven[::2] *= 3  # no single temperature corrects that
    assert any("ECE rose" in reason for reason in evaluate_step(found, uneven, AccuracyGate(20.0)).reasons)


def test_the_temperature_is_fitted_anew() -> None:
    found = evaluation_set(1000)
    hotter = evaluate_step(found, found.reference * 3, AccuracyGate(1.0))
    plain = evaluate_step(found, found.reference, AccuracyGate(1.0))
    assert hotter.temperature == pytest.approx(3 * plain.temperature, rel=0.02)  # held near 1 by 1,000 images a little
    assert hotter.ece == pytest.approx(plain.ece, abs=0.01)
    assert hotter.temperature_fit is not None and hotter.temperature_fit.nll_after < hotter.temperature_fit.nll_before


def test_nan_fails() -> None:
    found = evaluation_set(1000)
    broken = found.reference.copy()
    broken[0, 0] = np.nan
    evaluation = evaluate_step(found, broken, AccuracyGate(1.0))
    assert evaluation.verdict == "fail" and "NaN" in " ".join(evaluation.reasons)


def test_without_labels_agreement_with_the_reference_is_measured() -> None:
    found = evaluation_set(1000, labelled=False)
    evaluation = evaluate_step(found, flipped(evaluation_set(1000), 5), AccuracyGate(1.0))
    assert not evaluation.labelled and evaluation.value_reference == 1.0
    assert evaluation.value == pytest.approx(0.995) and evaluation.ece is None


def test_a_gate_given_as_a_share_is_relative_to_the_reference() -> None:
    assert AccuracyGate(points=None, share=0.99).margin_points(0.8) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="either points or a share"):
        AccuracyGate(points=1.0, share=0.99)


@pytest.mark.parametrize(
    "impossible", [{"points": 0.0}, {"points": 101.0}, {"points": float("nan")}, {"share": 1.0}, {"share": 0.0}]
)
def test_a_gate_that_nothing_or_everything_passes_is_refused(impossible: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0 and up to 100 points"):
        AccuracyGate(**{"points": None, **impossible})


def test_tolerances_for_other_machines_include_what_was_measured_here() -> None:
    found = evaluation_set(100)
    moved = found.reference + np.float32(0.2) * np.sign(found.reference)
    tolerances = measured_tolerances(found.reference, moved)
    assert 0.02 < tolerances.relative < 0.4
