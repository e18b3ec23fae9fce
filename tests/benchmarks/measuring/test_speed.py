"""A planted slowdown is found and nothing is found where there is none, on samples with the noise of real machines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeclf_benchmarks.measuring.speed import Ratio, log_ratios, noise_of, ratio_of, speed_of
from edgeclf_runtime.metrics.intervals import Interval

Rounds = list[list[float]]


def noisy_rounds(random: np.random.Generator, factors: list[float], rounds: int = 20, calls: int = 20) -> list[Rounds]:
    """Times of contenders that share a drifting machine: levels of rounds, of one in a round, of calls; bursts."""
    drift = 1 + 0.2 * np.sin(np.linspace(0, 5, rounds)) + np.abs(random.normal(0, 0.1, rounds))
    taken = []
    for factor in factors:
        own = np.exp(random.normal(0, 0.01, (rounds, 1)))
        each = np.exp(random.normal(0, 0.04, (rounds, calls)))
        burst = np.where(random.random((rounds, calls)) < 0.03, random.uniform(1.5, 6, (rounds, calls)), 1)
        taken.append((5 * factor * drift[:, None] * own * each * burst).tolist())
    return taken


def verdict(random: np.random.Generator, factor: float) -> str:
    base, same, row = noisy_rounds(random, [1.0, 1.0, factor])
    same_ratio, found = ratio_of(same, base), ratio_of(row, base)
    assert same_ratio is not None and found is not None
    return speed_of(found.value, found.interval, len(found.by_round), noise_of(same_ratio))


def test_a_planted_slowdown_of_15_percent_is_found_every_time() -> None:
    random = np.random.default_rng(0)
    assert {verdict(random, 1.15) for _ in range(20)} == {"slower"}
    assert {verdict(random, 1 / 1.15) for _ in range(20)} == {"faster"}


def test_twenty_repeats_without_a_change_raise_no_alarm() -> None:
    random = np.random.default_rng(0)
    assert {verdict(random, 1.0) for _ in range(20)} == {"no difference shown"}


@pytest.mark.check
def test_the_interval_of_a_ratio_covers_it() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for seed in range(100):
        base, row = noisy_rounds(random, [1.0, 1.3])
        found = ratio_of(row, base, seed=seed)
        assert found is not None
        covered += found.interval.low <= 1.3 <= found.interval.high
    assert covered >= 90


def test_the_ratio_is_the_median_over_rounds_of_the_medians_of_pairs() -> None:
    found = ratio_of([[2.0, 6.0, 4.0], [3.0, 3.0, 3.0], [10.0]], [[1.0, 2.0, 4.0], [1.0, 3.0, 3.0], [2.0]])
    assert found is not None
    assert found.by_round == pytest.approx((2.0, 1.0, 5.0))
    assert found.value == pytest.approx(2.0)


def test_a_call_without_a_partner_is_left_out() -> None:
    assert log_ratios([[2.0, 9.0]], [[1.0]]) == [[math.log(2.0)]]
    assert log_ratios([[2.0], [2.0]], [[1.0]]) == [[math.log(2.0)]]


def test_the_a_a_noise_is_the_farther_end_of_the_interval_of_a_bundle_against_itself() -> None:
    assert noise_of(Ratio(1.0, Interval(0.9, 1.05, ""), ())) == pytest.approx(1 / 0.9)
    assert noise_of(Ratio(1.0, Interval(0.99, 1.2, ""), ())) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "noise", "wanted"),
    [
        (0.9, 0.88, 0.92, 1.02, "faster"),
        (0.9, 0.80, 1.01, 1.02, "no difference shown"),  # the interval holds 1
        (0.97, 0.96, 0.98, 1.05, "no difference shown"),  # within the A/A noise
        (1.2, 1.1, 1.3, 1.02, "slower"),
    ],
)
def test_a_row_is_faster_only_beyond_a_a_noise_and_where_the_interval_excludes_1(
    ratio: float, low: float, high: float, noise: float, wanted: str
) -> None:
    assert speed_of(ratio, Interval(low, high, ""), 5, noise) == wanted
    assert speed_of(ratio, Interval(low, high, ""), 4, noise) == "no difference shown"
