"""Intervals cover what they promise, by hand-checked numbers and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.metrics import intervals
from edgeclf_runtime.metrics.intervals import Resampling, accuracy_interval, number_groups, wilson


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_newcombes_worked_example(right: int, images: int, low: float, high: float) -> None:
    found = wilson(right, images)  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_no_images_leave_the_whole_range_open() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


def test_groups_are_numbered_and_images_without_one_stand_alone() -> None:
    assert number_groups(None) is None
    assert number_groups([None, None]) is None
    numbers = number_groups(["a", None, "a", None, "b"])
    assert numbers is not None
    assert numbers.tolist() == [0, 1, 0, 2, 3]


def test_the_bootstrap_of_a_mean_is_about_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = Resampling(400).interval(lambda weights: (weights @ values) / weights.sum(axis=1))
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_images_of_one_group_make_the_interval_wider() -> None:
    random = np.random.default_rng(0)
    right = np.repeat(random.random(20) < 0.7, 30)
    alone = accuracy_interval(right, Resampling(600))
    together = accuracy_interval(right, Resampling(600, np.repeat(np.arange(20), 30)))
    assert alone is not None and together is not None
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert "20 groups" in together.method


@pytest.mark.parametrize("right", [True, False])
def test_all_or_none_right_in_groups_is_bounded_by_the_number_of_groups(right: bool) -> None:
    found = accuracy_interval(np.full(100, right), Resampling(100, np.repeat(np.arange(4), 25)))
    wanted = wilson(4 * right, 4)
    assert found is not None
    assert (found.low, found.high) == (wanted.low, wanted.high)


def test_a_single_group_has_no_interval() -> None:
    right = np.array([True, False, True])
    assert accuracy_interval(right, Resampling(3, np.zeros(3, dtype=np.intp))) is None


def test_draws_that_all_give_the_same_make_no_interval() -> None:
    assert Resampling(9).interval(lambda weights: np.ones(len(weights))) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    first, second = (Resampling(50, seed=7).interval(lambda weights: weights @ values) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(10), 5)])
def test_draws_that_are_kept_for_all_figures_are_those_that_are_made_block_by_block(
    groups: NDArray[np.intp] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = Resampling(50, groups, resamples=30).weights()
    monkeypatch.setattr(intervals, "_KEPT_NUMBERS", 0)
    monkeypatch.setattr(intervals, "_BLOCK_NUMBERS", 400)
    blocks = list(Resampling(50, groups, resamples=30).weights())
    assert [len(block) for block in blocks] == [8, 8, 8, 6] and (np.concatenate(blocks) == kept).all()
    if groups is None:
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 1
