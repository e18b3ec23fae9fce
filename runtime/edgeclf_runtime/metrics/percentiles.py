"""Percentiles with their samples: printed only where there are enough, as the bound of LoadGen's early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.intervals import Interval

CONFIDENCE = 0.99


def overlatency_allowed(samples: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """How many of `samples` may lie above a percentile's bound, which then holds with that confidence.

    The largest t with P(Binomial(samples, 1 - percentile) <= t) < 1 - confidence, as in MLPerf LoadGen's early
    stopping (loadgen/early_stopping.cc, tolerance 0); 0: too few samples for any bound.
    """
    low, high = 0, samples
    while low < high:  # the largest t that is still allowed
        middle = (low + high + 1) // 2
        if binomial_cdf(middle, samples, 1 - percentile) < 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def percentile_bound(samples: Sequence[float], percentile: float) -> float | None:
    """The upper bound of a percentile, one of the samples; None: too few (64 for p90, 130 for p95, 662 for p99)."""
    allowed = overlatency_allowed(len(samples), percentile)
    return None if allowed < 1 else float(np.sort(samples)[len(samples) - allowed])


def median_interval(rounds: Sequence[Sequence[float]], *, seed: int = 0) -> Interval | None:
    """95 % interval of the median by a bootstrap over rounds, then samples; None with fewer than two rounds."""
    drawn = resample_medians(rounds, seed=seed)
    if drawn is None:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(low), float(high), bootstrap_method(rounds))


def bootstrap_method(rounds: Sequence[Sequence[float]], draws: int = 2000) -> str:
    """How `resample_medians` works, for people."""
    return f"bootstrap, {draws} draws of {len(rounds)} rounds, then of their samples"


def resample_medians(
    rounds: Sequence[Sequence[float]], draws: int = 2000, *, seed: int = 0
) -> NDArray[np.float64] | None:
    """(draws,) medians over rounds of the medians of their samples, both drawn with replacement.

    Samples of one round are alike (the machine's state lasts longer than a call), so rounds are drawn first. None with
    fewer than two rounds that have samples.
    """
    filled = [np.asarray(samples, dtype=np.float64) for samples in rounds if len(samples)]
    if len(filled) < 2:
        return None
    random = np.random.default_rng(seed)
    medians = np.stack([_drawn_medians(values, draws, random) for values in filled], axis=1)
    rows = np.stack([random.permutation(draws) for _ in filled], axis=1)  # a round drawn twice gets two inner draws
    chosen = random.integers(0, len(filled), (draws, len(filled)))
    return np.asarray(np.median(medians[rows, chosen], axis=1))


def _drawn_medians(values: NDArray[np.float64], draws: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) medians of as many values, drawn with replacement: of their ranks, which sort three times as fast."""
    order = np.argsort(values)
    ranks = np.empty(len(values), dtype=np.int32)
    ranks[order] = np.arange(len(values), dtype=np.int32)
    drawn = np.sort(ranks[random.integers(0, len(values), (draws, len(values)))], axis=1)
    below, above = drawn[:, (len(values) - 1) // 2], drawn[:, len(values) // 2]
    return np.asarray((values[order[below]] + values[order[above]]) / 2)


def binomial_cdf(most: int, trials: int, chance: float) -> float:
    """P(X <= most) for X ~ Binomial(trials, chance), with 0 < chance < 1."""
    if most >= trials:
        return 1.0
    events = np.arange(most + 1)
    choices = math.lgamma(trials + 1) - _log_factorials(events) - _log_factorials(trials - events)
    return float(np.exp(choices + events * math.log(chance) + (trials - events) * math.log1p(-chance)).sum())


def _log_factorials(numbers: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.array([math.lgamma(number + 1) for number in numbers.tolist()])
