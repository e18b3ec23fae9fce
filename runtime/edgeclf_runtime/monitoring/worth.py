"""Which predictions make an image worth a label: those that a little more, or less, would have changed."""

from __future__ import annotations

import math
from typing import Literal

from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction
from edgeclf_runtime.bundle.manifest import Manifest, Thresholds

Why = Literal["unknown", "near a threshold", "near another class", "bundles differ"]
# Of log-odds and of energy: evidence of 1.6 times as much would have decided otherwise. Of margins: a tenth of the
# distance between a support vector and the boundary.
_NEAR_NATS, _NEAR_MARGIN = 0.5, 0.1
_LEAST = 1e-12


def why_worth_a_label(prediction: Prediction, manifest: Manifest, threshold: float | None = None) -> Why | None:
    """The reason, or None. `threshold`: the score in place of the manifest's thresholds."""
    thresholds = manifest.thresholds if threshold is None else Thresholds(unknown_below=threshold)
    if prediction.label == UNKNOWN and prediction.unknown_by is not None:
        return "unknown"
    if not prediction.scores:
        return None
    if manifest.multi_label:
        near = _has_label_near_threshold(prediction, manifest, threshold) or _is_nearly_strange(prediction, thresholds)
        return "near a threshold" if near else None
    if _is_near_threshold(prediction, manifest, thresholds):
        return "near a threshold"
    return "near another class" if _is_near_another(prediction, manifest) else None


def _is_near_threshold(prediction: Prediction, manifest: Manifest, thresholds: Thresholds) -> bool:
    best = prediction.scores[0]
    least = [] if thresholds.unknown_below is None else [thresholds.unknown_below]
    if thresholds.per_class is not None:
        least.append(thresholds.per_class[manifest.labels.index(best.label)])
    if any(_is_near(best.probability, each, manifest) for each in least):
        return True
    return _is_nearly_strange(prediction, thresholds)


def _is_nearly_strange(prediction: Prediction, thresholds: Thresholds) -> bool:
    energy = prediction.energy
    return thresholds.energy is not None and energy is not None and energy - thresholds.energy.below <= _NEAR_NATS


def _has_label_near_threshold(prediction: Prediction, manifest: Manifest, threshold: float | None) -> bool:
    """Of the labels that are listed."""
    own = dict(zip(manifest.labels, manifest.thresholds.per_class or (), strict=False))
    return any(
        _is_near(each.probability, own[each.label] if threshold is None else threshold, manifest)
        for each in prediction.scores
    )


def _is_near_another(prediction: Prediction, manifest: Manifest) -> bool:
    """Whether the second class is close; where only one is listed, whether all others together are."""
    best, *others = (score.probability for score in prediction.scores)
    if manifest.scores == "margin":
        return bool(others) and best - others[0] <= _NEAR_MARGIN
    if manifest.scores == "sigmoid":
        return _is_near(best, 0.5, manifest)
    second = others[0] if others else 1 - best
    return math.log(max(best, _LEAST)) - math.log(max(second, _LEAST)) <= _NEAR_NATS


def _is_near(score: float, threshold: float, manifest: Manifest) -> bool:
    if manifest.scores == "margin":
        return abs(score - threshold) <= _NEAR_MARGIN
    return abs(_log_odds(score) - _log_odds(threshold)) <= _NEAR_NATS


def _log_odds(score: float) -> float:
    return math.log(max(score, _LEAST)) - math.log(max(1 - score, _LEAST))
