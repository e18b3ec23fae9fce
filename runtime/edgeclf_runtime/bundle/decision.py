"""From logits to a prediction: scores by the manifest's temperature, a label, or "unknown" below a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Manifest

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Score:
    """A class and its score.

    Attributes
    ----------
    label
        The class.
    probability
        0..1 (softmax or sigmoid); where the model has no probabilities (HOG + SVM) its margin, any number.
    """

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier predicts for one image, or the error of one that can't be read.

    Attributes
    ----------
    source
        The path, or "array 3", "image 3" (of PIL), "file 3" (bytes, too): what was given, by its place.
    label
        The best class; "unknown" below the threshold; None where there is an error.
    scores
        The best classes, best first; empty where there is an error.
    error
        Why there is no label, or None.
    notes
        What the decoder had to decide, such as "12 frames: the first is used".

    Examples
    --------
    >>> from edgeclf_runtime import Prediction, Score
    >>> prediction = Prediction("lake.jpg", "unknown", (Score("sky", 0.41), Score("leaf", 0.33)))
    >>> prediction.scores[0].label
    'sky'
    """

    source: str
    label: str | None
    scores: tuple[Score, ...]
    error: str | None = None
    notes: tuple[str, ...] = ()


def decide(
    manifest: Manifest,
    name: str,
    scores: NDArray[np.floating],
    notes: tuple[str, ...] = (),
    *,
    top: int = 5,
    threshold: float | None = None,
) -> Prediction:
    """The prediction for the image `name` from its (classes,) row of `scores`, which `scores_of` gives.

    `threshold`: the score below which the label is "unknown"; None: the manifest's thresholds.
    """
    if not math.isfinite(scores.sum()):
        return Prediction(name, None, (), "the engine gave NaN or infinite outputs; run `edgeclf verify`", notes)
    thresholds, labels = manifest.thresholds, manifest.labels
    order = np.argsort(-scores, kind="stable")[:top]
    best = int(order[0])
    least = threshold if threshold is not None else thresholds.unknown_below
    known = least is None or scores[best] >= least
    if known and threshold is None and thresholds.per_class is not None:
        known = scores[best] >= thresholds.per_class[best]
    listed = tuple(map(Score, (labels[i] for i in order.tolist()), scores[order].tolist()))
    return Prediction(name, labels[best] if known else UNKNOWN, listed, notes=notes)


def scores_of(logits: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float64]:
    """(N, classes) logits -> softmax or sigmoid of logits / temperature; margins stay as they are."""
    if manifest.scores == "margin":
        return logits.astype(np.float64)
    values = logits.astype(np.float64)
    values /= manifest.temperature
    if manifest.scores == "sigmoid":
        return 0.5 * (1.0 + np.tanh(0.5 * values))  # 1 / (1 + exp(-x)) without overflow
    with np.errstate(invalid="ignore"):  # infinite logits become NaN, which `decide` reports
        values -= values.max(axis=1, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
    return values
