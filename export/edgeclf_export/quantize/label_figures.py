"""Where images may have several labels: the mAP of a model against the reference's, with the bounds of its change."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize.evaluation_set import EvaluationSet, Figures
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.average_precision import mean_average_precision
from edgeclf_runtime.metrics.intervals import Resampling, number_groups
from edgeclf_runtime.metrics.logits import binary_kl_divergences
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import label_calibration_error, weighted_macro_calibration_error
from edgeclf_runtime.metrics.paired import change_bounds, images_to_settle
from edgeclf_runtime.metrics.paired_labels import MapChange, map_change


def map_figures(evaluation_set: EvaluationSet, logits: NDArray[np.float32], temperature: float) -> Figures:
    """The mAP of a model's (N, labels) logits; without targets the reference's predictions are taken as the truth.

    The bounds are those of a paired bootstrap over images or groups, and never nearer to the change than as many images
    could show of top-1 if none changed. The divergence is the mean over the labels.

    Raises DataError where no image has a label.
    """
    least = evaluation_set.label_logits
    if least is None:
        raise ValueError("the images have one label each")
    was, is_now = (each.astype(np.float64) for each in (evaluation_set.reference, logits))
    targets = was >= least if evaluation_set.targets is None else evaluation_set.targets
    before, after = mean_average_precision(was, targets), mean_average_precision(is_now, targets)
    if before is None or after is None:
        raise DataError("no evaluation image has a label, so there is no mAP that int8 could keep; give others")
    resampling = Resampling(len(targets), number_groups(evaluation_set.groups))
    found = map_change(is_now, was, targets, resampling)
    least_lower, least_upper = change_bounds(0, 0, resampling.units)  # scores that keep their order are no proof
    right_before = (was >= least) == targets
    right_after = (is_now >= least * (temperature / evaluation_set.temperature)) == targets
    divergences = binary_kl_divergences(was / evaluation_set.temperature, is_now / temperature)
    return Figures(
        metric="mAP",
        reference=before,
        model=after,
        lost=int((right_before & ~right_after).sum()),
        won=int((~right_before & right_after).sum()),
        change_points=100 * found.change,
        bounds_points=(
            100 * min(found.lower, found.change + least_lower),
            100 * max(found.upper, found.change + least_upper),
        ),
        kl=np.asarray(divergences.mean(axis=1)),
        images_needed=lambda margin: _images_needed(found, margin / 100, resampling),
        **_calibration(evaluation_set, logits, temperature, resampling),
    )


def _images_needed(found: MapChange, margin: float, resampling: Resampling) -> int | None:
    """The draws' bounds come nearer with the root of the images, the others with their number; None: neither can."""
    room, images = found.change + margin, resampling.images
    units = images_to_settle(0, 0, 1, abs(room)) if room else None
    if units is None:
        return None
    distance = found.change - found.lower if room > 0 else found.upper - found.change
    by_draws = 0 if found.interval is None else math.ceil(images * (distance / room) ** 2)
    return max(images + 1, by_draws, math.ceil(units * images / resampling.units))


def _calibration(
    evaluation_set: EvaluationSet, logits: NDArray[np.float32], temperature: float, resampling: Resampling
) -> dict[str, float | None]:
    """The labels' mean calibration errors, where it is known what is right."""
    targets = evaluation_set.targets
    if targets is None:
        return {"ece_reference": None, "ece": None, "lowest_rise": None}
    was = to_scores(evaluation_set.reference, "sigmoid", evaluation_set.temperature)
    is_now = to_scores(logits, "sigmoid", temperature)

    def rise(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        after, before = (weighted_macro_calibration_error(weights, scores, targets) for scores in (is_now, was))
        return np.asarray(after - before)

    return {
        "ece_reference": _error(was, targets),
        "ece": _error(is_now, targets),
        "lowest_rise": float(np.percentile(resampling.draws(rise), 5)),
    }


def _error(probabilities: NDArray[np.float64], targets: NDArray[np.bool_]) -> float:
    labels = range(targets.shape[1])
    return float(np.mean([label_calibration_error(probabilities[:, i], targets[:, i]) for i in labels]))
