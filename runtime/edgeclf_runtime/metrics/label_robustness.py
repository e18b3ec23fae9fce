"""Corrupted images that may have several labels: the mAP at each corruption and level, against the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.average_precision import weighted_mean_average_precision
from edgeclf_runtime.metrics.intervals import Interval, Resampling, centred
from edgeclf_runtime.metrics.robustness import Corrupted, Robustness, change_when_corrupted

_COSTLIEST = 2e9  # draws x images x labels x ways; fewer draws beyond that, which took minutes
_FEWEST_DRAWS = 200


@dataclass(frozen=True, slots=True)
class CorruptedLabels:
    """One row's probabilities for images as they are and corrupted, and where they reach its own thresholds.

    `clean` and `clean_predicted` are (N, labels), `corrupted` and `predicted` (ways, N, labels). `maps` (ways, draws)
    is the mAP of each way in each draw of a bootstrap.
    """

    clean: NDArray[np.float64]
    clean_predicted: NDArray[np.bool_]
    corrupted: NDArray[np.float64]
    predicted: NDArray[np.bool_]
    maps: NDArray[np.float64]


def resampling_within_cost(
    images: int, labels: int, ways: int, groups: NDArray[np.intp] | None, seed: int
) -> Resampling:
    """The bootstrap of so many figures: fewer draws where a thousand would take minutes."""
    plan = Resampling(images, groups, seed=seed)
    draws = max(_FEWEST_DRAWS, min(plan.resamples, int(_COSTLIEST / (images * labels * ways))))
    return replace(plan, resamples=draws)


def draw_maps(corrupted: NDArray[np.float64], right: NDArray[np.bool_], resampling: Resampling) -> NDArray[np.float64]:
    """(ways, draws) the mAP of scores (ways, N, labels) on images with the labels `right` (N, labels)."""
    return np.stack([_draw(scores, right, resampling) for scores in corrupted])


def label_robustness_of(
    ways: Sequence[tuple[str, int]],
    row: CorruptedLabels,
    reference: CorruptedLabels | None,
    right: NDArray[np.bool_],
    resampling: Resampling,
    *,
    margin_points: float,
) -> Robustness:
    """What `robustness_of` is for one label an image; right: (N, labels), of which some image must have one."""
    entries = tuple(_entry(place, way, row, reference, right, resampling.method) for place, way in enumerate(ways))
    means, clean = row.maps.mean(axis=0), _map(row.clean, right)
    change = None if reference is None else 100 * (means - reference.maps.mean(axis=0))
    lower, verdict, reason = change_when_corrupted("mAP", change, resampling, margin_points)
    changes = [each.change_points for each in entries if each.change_points is not None]
    return Robustness(
        images=len(right),
        clean_value=clean,
        clean_change_points=None if reference is None else 100 * (clean - _map(reference.clean, right)),
        mean_value=float(np.mean([each.value for each in entries])),
        mean_interval=_interval(means, resampling.method),
        mean_change_points=float(np.mean(changes)) if changes else None,
        mean_change_interval_points=_interval(change, resampling.method),
        lower_bound_points=lower,
        margin_points=margin_points,
        verdict=verdict,
        reason=reason,
        entries=entries,
        figure="mAP",
    )


def _entry(
    place: int,
    way: tuple[str, int],
    row: CorruptedLabels,
    reference: CorruptedLabels | None,
    right: NDArray[np.bool_],
    method: str,
) -> Corrupted:
    value, predicted = _map(row.corrupted[place], right), row.predicted[place]
    found = Corrupted(
        name=way[0],
        level=way[1],
        value=value,
        interval=_interval(row.maps[place], method),
        lost_from_clean=int(((row.clean_predicted == right) & (predicted != right)).sum()),
        figure="mAP",
    )
    if reference is None:
        return found
    return replace(
        found,
        agreement=float((predicted == reference.predicted[place]).mean()),
        change_points=100 * (value - _map(reference.corrupted[place], right)),
        change_interval_points=_interval(100 * (row.maps[place] - reference.maps[place]), method),
    )


def _draw(scores: NDArray[np.float64], right: NDArray[np.bool_], resampling: Resampling) -> NDArray[np.float64]:
    draws = resampling.draws(lambda weights: weighted_mean_average_precision(weights, scores, right))
    return np.clip(centred(draws, _map(scores, right)), 0.0, 1.0)


def _map(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    return float(weighted_mean_average_precision(np.ones((1, len(right))), scores, right)[0])


def _interval(drawn: NDArray[np.float64] | None, method: str) -> Interval | None:
    """None where every draw gives the same: that certainty would be false."""
    if drawn is None or drawn.min() == drawn.max():
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(low), float(high), method)
