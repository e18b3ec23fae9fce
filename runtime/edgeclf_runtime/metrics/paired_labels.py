"""Two predictors of several labels on the same images: how much their mAP differs, with a paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.average_precision import weighted_mean_average_precision
from edgeclf_runtime.metrics.intervals import Interval, Resampling, centred
from edgeclf_runtime.metrics.paired import change_bounds


@dataclass(frozen=True, slots=True)
class MapChange:
    """The mAP of one minus that of the other, as a share, and its one-sided 95 % bounds.

    `interval`: two-sided, in points; None where all draws agree.
    """

    change: float
    lower: float
    upper: float
    interval: Interval | None


def map_change(
    found: NDArray[np.float64], wanted: NDArray[np.float64], right: NDArray[np.bool_], resampling: Resampling
) -> MapChange:
    """From (N, labels) scores `wanted` to `found` on images with the labels `right`.

    Both are drawn together, images or groups. Where no draw differs, the bounds are Tango's for as many images or
    groups without any change: few images that rank alike are no proof that others do.
    """

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        mine, other = (weighted_mean_average_precision(weights, each, right) for each in (found, wanted))
        return mine - other

    change = float(difference(np.ones((1, len(right))))[0])
    drawn = resampling.draws(difference)
    if drawn.min() == drawn.max():
        return MapChange(change, *change_bounds(0, 0, resampling.units), None)
    low, lower, upper, high = (float(bound) for bound in np.percentile(centred(drawn, change), [2.5, 5, 95, 97.5]))
    return MapChange(change, lower, upper, Interval(100 * low, 100 * high, resampling.method))
