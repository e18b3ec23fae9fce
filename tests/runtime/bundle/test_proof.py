"""The statistics of a proof against numbers worked out by hand, and the verdicts that follow from them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.bundle.proof import TOLERANCES, Comparison, Tolerances, compare, compare_embeddings, verdict_of
from edgeclf_runtime.metrics.logits import log_softmax

LOOSE = Tolerances(relative=0.1, cosine=0.9, kl=0.1)
SOUND = Comparison(8, 0.0, 1.0, 0.0, 0.0, 1.0, 0, 0, 0)


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_the_largest_difference_is_counted_in_logit_ranges() -> None:
    found = compare(logits([0, 4, 2], [0, 4, 0]), logits([0, 4, 3], [0, 4.5, 0]), LOOSE)
    assert found.max_relative == pytest.approx(1 / 4)


def test_two_classes_in_a_near_tie_are_measured_by_the_range_of_the_other_images() -> None:
    sure = [[5.0, 1.0], [0.0, 4.0], [1.0, 5.0]]
    found = compare(logits(*sure, [5.0, 4.99]), logits(*sure, [5.0, 4.9900014]), TOLERANCES["fp32"])
    assert found.max_relative < 1e-6 and found.flips == 0
    wide = compare(logits(*sure, [50.0, 0.0]), logits(*sure, [51.0, 0.0]), LOOSE)
    assert wide.max_relative == pytest.approx(1 / 50)


def test_the_cosine_is_the_smallest_of_all_images() -> None:
    found = compare(logits([3, 4], [1, 0]), logits([4, 3], [1, 0]), LOOSE)
    assert found.min_cosine == pytest.approx(24 / 25)


def test_kl_is_of_the_softmax_in_nats() -> None:
    p, q = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25)
    by_hand = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    found = compare(logits([math.log(v) for v in p]), logits([math.log(v) + 7 for v in q]), LOOSE)
    assert found.max_kl == found.mean_kl == pytest.approx(by_hand, abs=1e-6)


def test_kl_equals_scipys() -> None:
    special = pytest.importorskip("scipy.special")
    random = np.random.default_rng(0)
    reference, candidate = (random.normal(scale=5, size=(20, 7)).astype(np.float32) for _ in range(2))
    p, q = (special.softmax(values.astype(float), axis=1) for values in (reference, candidate))
    wanted = special.rel_entr(p, q).sum(axis=1)
    found = compare(reference, candidate, LOOSE)
    assert (found.max_kl, found.mean_kl) == pytest.approx((wanted.max(), wanted.mean()))


def test_log_softmax_is_stable_and_sums_to_one() -> None:
    values = log_softmax(np.array([[1000.0, 1000.0], [-1e30, 0.0]]))
    assert np.allclose(values[0], math.log(0.5))
    assert np.allclose(np.exp(values).sum(axis=1), 1)


def test_agreement_is_the_share_of_equal_top_1_predictions() -> None:
    found = compare(logits([9, 0], [9, 0], [0, 9], [0, 9]), logits([9, 0], [0, 9], [0, 9], [0, 9]), LOOSE)
    assert (found.agreement, found.flips) == (0.75, 1)


def test_a_swap_in_a_near_tie_is_no_flip_and_one_just_outside_is() -> None:
    near = compare(logits([1.0, 0.81, 0.0]), logits([0.9, 0.91, 0.0]), LOOSE)  # apart by 0.19 < 2 x 0.1
    assert (near.near_ties, near.flips, near.agreement) == (1, 0, 0.0)
    outside = compare(logits([1.0, 0.79, 0.0]), logits([0.8, 0.81, 0.0]), LOOSE)
    assert (outside.near_ties, outside.flips) == (0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_fail_on_either_side(value: float) -> None:
    sound = np.tile(logits([9, 0, 1]), (10, 1))
    broken = sound.copy()
    broken[3, 1] = value
    for reference, candidate in ((sound, broken), (broken, sound), (broken, broken)):
        comparison = compare(reference, candidate, LOOSE)
        verdict, reasons = verdict_of(comparison, LOOSE)
        assert (verdict, comparison.non_finite, comparison.flips) == ("fail", 1, 1)
        assert reasons[0] == "1 of 10 images gave NaN or infinite outputs"


def test_nothing_but_nan_fails_with_finite_statistics() -> None:
    comparison = compare(np.ones((9, 2), np.float32), np.full((9, 2), np.nan, np.float32), LOOSE)
    assert verdict_of(comparison, LOOSE)[0] == "fail"
    assert all(math.isfinite(value) for value in (comparison.max_relative, comparison.min_cosine, comparison.max_kl))


def test_equal_outputs_pass_even_where_a_row_is_constant_or_zero() -> None:
    rows = np.vstack([np.zeros((1, 3)), np.full((1, 3), 5.0), np.tile([9.0, 0.0, 1.0], (8, 1))]).astype(np.float32)
    comparison = compare(rows, rows, TOLERANCES["fp32"])
    assert verdict_of(comparison, TOLERANCES["fp32"]) == ("pass", ())
    assert comparison.near_ties == 2


def test_tiny_logits_are_evaluated_by_their_own_range() -> None:
    rows = np.random.default_rng(0).normal(scale=2e-5, size=(8, 5)).astype(np.float32)
    assert verdict_of(compare(rows, rows + np.float32(1e-6), LOOSE), LOOSE)[0] == "pass"
    verdict, reasons = verdict_of(compare(rows, rows[:, ::-1], LOOSE), LOOSE)
    assert verdict == "fail" and any("of their range" in reason for reason in reasons)


def test_outputs_of_other_shapes_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        compare(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), LOOSE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_relative": 0.11}, "logits differ by 0.11 of their range, tolerated 0.1"),
        ({"min_cosine": 0.89}, "cosine of the logits falls to 0.890000, tolerated 0.9"),
        ({"max_kl": 0.2}, "KL divergence rises to 0.2, tolerated 0.1"),
        ({"flips": 2}, "2 of 8 images outside near ties changed their top-1 prediction"),
        ({"max_relative": float("nan")}, "logits differ by nan of their range, tolerated 0.1"),
    ],
)
def test_each_tolerance_fails_with_its_own_reason(change: dict[str, float], reason: str) -> None:
    assert verdict_of(replace(SOUND, **change), LOOSE) == ("fail", (reason,))


def test_what_lies_just_within_every_tolerance_passes() -> None:
    assert verdict_of(replace(SOUND, max_relative=0.1, min_cosine=0.9, max_kl=0.1, near_ties=7), LOOSE) == (
        "pass",
        (),
    )


@pytest.mark.parametrize(("images", "missing"), [(0, 8), (1, 7), (7, 1)])
def test_too_few_images_are_inconclusive_and_state_how_many_are_missing(images: int, missing: int) -> None:
    rows = np.tile(logits([9, 0]), (images, 1))
    verdict, reasons = verdict_of(compare(rows, rows, LOOSE), LOOSE)
    assert (verdict, reasons) == (
        "inconclusive",
        (f"{images} images are too few for a verdict; {missing} more are needed",),
    )


def test_too_few_images_still_fail_where_they_differ() -> None:
    assert verdict_of(replace(SOUND, images=1, flips=1), LOOSE)[0] == "fail"


def test_nothing_but_near_ties_is_inconclusive() -> None:
    verdict, reasons = verdict_of(replace(SOUND, near_ties=8), LOOSE)
    assert verdict == "inconclusive" and "every image is a near tie" in reasons[0]


def unit(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    vectors = np.array(rows, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def test_embeddings_are_compared_by_cosine_range_and_nearest_neighbour() -> None:
    wanted = unit((1, 0, 0), (0, 1, 0), (0, 0, 1))
    found = unit((1, 0.1, 0), (0, 1, 0), (0, 1, 0.5))  # the third lies nearest to the second
    compared = compare_embeddings(wanted, found, TOLERANCES["fp32"])
    assert compared.min_cosine == pytest.approx(0.5 / np.sqrt(1.25), rel=1e-5)
    assert compared.max_relative == pytest.approx(1 / np.sqrt(1.25), rel=1e-5)
    assert (compared.agreement, compared.flips, compared.near_ties) == (pytest.approx(2 / 3), 1, 0)
    assert (compared.mean_kl, compared.max_kl) == (0.0, 0.0)


def test_embeddings_as_alike_as_tolerated_are_near_ties_and_no_flips() -> None:
    wanted = unit((1, 0, 0), (1, 1e-4, 0), (0, 0, 1))
    compared = compare_embeddings(wanted, wanted[[1, 0, 2]], TOLERANCES["bf16"])
    assert (compared.flips, compared.near_ties) == (0, 2)


def test_an_embedding_that_is_not_finite_fails() -> None:
    wanted = unit((1, 0), (0, 1))
    found = wanted.copy()
    found[1] = np.nan
    compared = compare_embeddings(wanted, found, TOLERANCES["fp32"])
    verdict, reasons = verdict_of(compared, TOLERANCES["fp32"], items="texts", outputs="embeddings")
    assert verdict == "fail" and reasons[0] == "1 of 2 texts gave NaN or infinite outputs"
