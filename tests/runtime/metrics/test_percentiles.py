"""A percentile is printed only with enough samples, its bound and the median's interval cover what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf_runtime.metrics.percentiles import (
    binomial_cdf,
    median_interval,
    overlatency_allowed,
    percentile_bound,
)


@pytest.mark.parametrize(("percentile", "fewest"), [(0.90, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_a_percentile_needs_as_many_samples_as_in_loadgen(percentile: float, fewest: int) -> None:
    assert percentile_bound(range(fewest - 1), percentile) is None
    assert percentile_bound(range(fewest), percentile) == fewest - 1  # the largest


@pytest.mark.parametrize("samples", [64, 65, 108, 109, 500, 3000, 24_576])
@pytest.mark.parametrize("percentile", [0.9, 0.99])
def test_as_many_samples_may_lie_above_the_bound_as_the_binomial_distribution_allows(
    samples: int, percentile: float
) -> None:
    from scipy.stats import binom

    allowed = overlatency_allowed(samples, percentile)
    assert binom.cdf(allowed + 1, samples, 1 - percentile) >= 0.01
    assert allowed == 0 or binom.cdf(allowed, samples, 1 - percentile) < 0.01


def test_the_bound_lies_above_the_true_percentile_in_99_of_100_runs() -> None:
    random = np.random.default_rng(0)
    bounds = [percentile_bound(random.exponential(size=200).tolist(), 0.9) for _ in range(1000)]
    above = [bound is not None and bound >= np.log(10) for bound in bounds]  # the 90th percentile of that distribution
    assert np.mean(above) >= 0.985


def test_the_binomial_distribution_is_scipys() -> None:
    from scipy.stats import binom

    for most, trials, chance in [(0, 1, 0.5), (3, 10, 0.1), (40, 5000, 0.01), (2400, 24_576, 0.1), (7, 7, 0.3)]:
        assert binomial_cdf(most, trials, chance) == pytest.approx(binom.cdf(most, trials, chance), rel=1e-9)


@pytest.mark.check
def test_the_medians_interval_covers_it_in_about_95_of_100_runs() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        level = np.exp(random.normal(0, 0.05, (20, 1)))  # a round has a level of its own
        rounds = 10 * level * np.exp(random.normal(0, 0.05, (20, 20)))
        found = median_interval(rounds.tolist(), seed=seed)
        assert found is not None
        covered += found.low <= 10 <= found.high
    assert 0.90 <= covered / 100 <= 1.0


def test_one_round_gives_no_interval() -> None:
    assert median_interval([[1.0, 2.0, 3.0]]) is None
    assert median_interval([[1.0, 2.0], []]) is None
