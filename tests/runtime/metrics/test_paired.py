"""Bounds of a paired change equal independent computations, and an unsettled question is called so."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeclf_runtime.metrics.paired import (
    Z_ONE_SIDED,
    Z_TWO_SIDED,
    change_bounds,
    change_interval,
    change_verdict,
    images_to_settle,
    mcnemar_p,
)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (3, 9), (10, 10), (31, 12), (400, 480)])
def test_mcnemars_p_is_that_of_scipys_binomial_test(lost: int, gained: int) -> None:
    from scipy.stats import binomtest

    wanted = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar_p(lost, gained) == pytest.approx(wanted)


def score_by_optimisation(lost: int, gained: int, images: int, change: float) -> float:
    """Tango's score statistic, the losses fitted by maximising the likelihood numerically instead of in closed form."""
    from scipy.optimize import minimize_scalar

    def unlikely(share: float) -> float:
        rest = 1 - 2 * share - change
        parts = [(gained, share + change), (lost, share), (images - gained - lost, rest)]
        return -sum(count * math.log(max(chance, 1e-300)) for count, chance in parts if count)

    bounds = (max(0.0, -change), (1 - change) / 2)
    share = float(minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x)
    return (gained - lost - images * change) / math.sqrt(images * (2 * share + change * (1 - change)))


@pytest.mark.parametrize(("lost", "gained", "images"), [(9, 3, 200), (1, 0, 44), (30, 45, 1000), (2, 2, 60)])
@pytest.mark.parametrize("z", [Z_ONE_SIDED, Z_TWO_SIDED])
def test_at_the_bounds_the_score_statistic_is_z(lost: int, gained: int, images: int, z: float) -> None:
    lower, upper = change_bounds(lost, gained, images, z)
    assert lower < (gained - lost) / images < upper
    assert score_by_optimisation(lost, gained, images, lower) == pytest.approx(z, abs=2e-3)
    assert score_by_optimisation(lost, gained, images, upper) == pytest.approx(-z, abs=2e-3)


def test_no_change_among_n_images_bounds_the_change_by_z2_over_n_plus_z2() -> None:
    lower, upper = change_bounds(0, 0, 100)
    assert upper == pytest.approx(Z_ONE_SIDED**2 / (100 + Z_ONE_SIDED**2), rel=1e-6)
    assert lower == pytest.approx(-upper)


def test_the_lower_bound_holds_in_about_95_of_100_draws() -> None:
    random = np.random.default_rng(0)
    draws = random.multinomial(800, [0.015, 0.01, 0.975], size=2000)
    held = np.mean([change_bounds(lost, gained, 800)[0] <= -0.005 for lost, gained, _ in draws.tolist()])
    assert 0.93 <= held <= 0.97


def test_a_planted_drop_of_one_point_is_found() -> None:
    lower, upper = change_bounds(150, 50, 10_000)  # 1.5 % lost, 0.5 % gained
    assert change_verdict(lower, upper, 0.005) == "fail"
    assert mcnemar_p(150, 50) < 1e-6


def test_equal_predictions_on_enough_images_pass_and_on_few_are_inconclusive() -> None:
    assert change_verdict(*change_bounds(0, 0, 2000), 0.005) == "pass"
    assert change_verdict(*change_bounds(0, 0, 200), 0.005) == "inconclusive"


@pytest.mark.parametrize(("lost", "gained", "images"), [(0, 0, 100), (4, 3, 300), (20, 20, 1000)])
def test_with_the_images_needed_it_is_settled_and_with_one_fewer_it_is_not(lost: int, gained: int, images: int) -> None:
    needed = images_to_settle(lost, gained, images, 0.005)
    assert needed is not None and needed > images

    def verdict(count: int) -> str:
        return change_verdict(*change_bounds(lost * count / images, gained * count / images, count), 0.005)

    assert verdict(needed) != "inconclusive"
    assert verdict(needed - 1) == "inconclusive"


def test_a_change_of_just_the_margin_is_never_settled() -> None:
    assert images_to_settle(10, 5, 1000, 0.005) is None


def test_the_interval_of_a_change_is_tangos_and_wider_where_images_come_in_groups() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 10)
    before = random.random(400) < 0.7
    after = before | (random.random(40) < 0.3)[group]
    alone, grouped = change_interval(before, after), change_interval(before, after, group)
    assert (alone.low / 100, alone.high / 100) == pytest.approx(
        change_bounds(0, int((after & ~before).sum()), 400, Z_TWO_SIDED)
    )
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    same = change_interval(before, before, group)
    assert same.low < 0 < same.high and "40 groups" in same.method
