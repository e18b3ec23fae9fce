"""From logits to a prediction: scores by the manifest's temperature; a label or "unknown", or all of several labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Manifest, Thresholds
from edgeclf_runtime.bundle.neighbour import Neighbour
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.energy import energies_of

UNKNOWN = "unknown"
_FEW = 50  # classes: lists take less time than arrays
UnknownBy = Literal["score", "energy", "features"]
_Scores = list[float] | NDArray[np.float64]


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
        The best class; "unknown" below the threshold; None where there is an error, and where an image may have several
        labels and is not "unknown".
    scores
        The best classes, best first; empty where there is an error.
    error
        Why there is no label, or None.
    notes
        What the decoder had to decide, such as "12 frames: the first is used".
    unknown_by
        Why the label is "unknown": "score", no class is sure enough; "energy", the image is like none that validation
        had, by its logits; "features", it looks like none that training had; None: it is not.
    energy
        How much the logits speak for any class, in nats, high for what is known; None for margins and errors.
    similarity
        How much the features look like those of the nearest class: a cosine with its mean; None where the bundle has no
        threshold of it.
    nearest
        The training images whose features are nearest, nearest first; empty where they were not asked for.
    labels
        Where an image may have several labels, those whose scores reach their thresholds, best first: also those beyond
        the `scores` that are listed, and (), none, is a prediction. None where an image has one label, or an error.

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
    unknown_by: UnknownBy | None = None
    energy: float | None = None
    similarity: float | None = None
    nearest: tuple[Neighbour, ...] = ()
    labels: tuple[str, ...] | None = field(default=None, metadata=LATER)

    @property
    def label_text(self) -> str:
        """The label, or all labels as CSV files of data hold them, "cat|dog"; "" for none, and for an error."""
        return "|".join(self.labels or ()) if self.label is None else self.label


def decide(
    manifest: Manifest,
    name: str,
    logits: NDArray[np.floating],
    notes: tuple[str, ...] = (),
    *,
    top: int = 5,
    threshold: float | None = None,
    similarity: float | None = None,
) -> Prediction:
    """The prediction for the image `name` from its (classes,) row of the model's output.

    `similarity`: of its features with the nearest class mean; None: they are not known, and no rule regards them.
    `threshold`: the score below which the label is "unknown", or from which on each of several labels is predicted, in
    place of all thresholds of the manifest; None: those.
    """
    found = _scores_and_energy(logits, manifest)
    if found is None:
        return Prediction(name, None, (), "the engine gave NaN or infinite outputs; run `edgeclf verify`", notes)
    scores, energy = found
    labels, order = manifest.labels, _best(scores, top)
    listed = tuple([Score(labels[i], float(scores[i])) for i in order])
    thresholds = manifest.thresholds if threshold is None else Thresholds(unknown_below=threshold)
    if manifest.multi_label:
        unknown_by, predicted = (
            _like_none_by(thresholds, energy, similarity),
            _all_predicted(manifest, scores, threshold),
        )
        label, all_labels = (None, predicted) if unknown_by is None else (UNKNOWN, ())
    else:
        best = order[0]
        unknown_by, all_labels = _unknown_by(thresholds, best, float(scores[best]), energy, similarity), None
        label = labels[best] if unknown_by is None else UNKNOWN
    return Prediction(
        name,
        label,
        listed,
        notes=notes,
        unknown_by=unknown_by,
        energy=energy,
        similarity=similarity,
        labels=all_labels,
    )


def _scores_and_energy(logits: NDArray[np.floating], manifest: Manifest) -> tuple[_Scores, float | None] | None:
    """What `scores_of` and `energies_of` give for one (classes,) row; margins have no energy. None: NaN or infinite.

    After an engine's run each function of numpy is out of the processor's caches and costs 5 to 25 us. A softmax of few
    classes needs none: it differs by rounding in float64. One of many shares its powers with the energy.
    """
    if manifest.scores == "softmax" and len(logits) <= _FEW:
        return _softmax_and_energy(logits.tolist(), manifest.temperature)
    if manifest.scores == "softmax":
        return _softmax_and_energy_of_many(logits.astype(np.float64), manifest.temperature)
    row = logits[np.newaxis]
    scores = scores_of(row, manifest)[0]
    if not math.isfinite(scores.sum()):
        return None
    return scores, None if manifest.scores == "margin" else energies_of(row, manifest.scores).item()


def _softmax_and_energy(logits: list[float], temperature: float) -> tuple[list[float], float] | None:
    powers, total, highest = _powers(logits)
    if not math.isfinite(total):
        return None
    energy = highest + math.log(total)
    if temperature != 1:
        powers, total, _ = _powers([value / temperature for value in logits])
    return [power / total for power in powers], energy


def _softmax_and_energy_of_many(
    logits: NDArray[np.float64], temperature: float
) -> tuple[NDArray[np.float64], float] | None:
    highest = logits.max()
    if not math.isfinite(highest):
        return None
    powers = np.exp(logits - highest)
    total = powers.sum()
    energy = float(highest) + math.log(total)
    if temperature != 1:
        logits /= temperature
        powers = np.exp(logits - logits.max())
        total = powers.sum()
    powers /= total
    return powers, energy


def _powers(values: list[float]) -> tuple[list[float], float, float]:
    """exp(value - highest) of each, their sum, the highest; infinite and NaN values make the sum NaN."""
    highest = max(values)
    powers = [math.exp(value - highest) for value in values]
    return powers, sum(powers), highest


def _best(scores: _Scores, top: int) -> list[int]:
    """Places of the `top` highest, highest first, of equal ones the first class first; no sort of many."""
    if isinstance(scores, list):
        return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:top]
    places = (
        np.arange(len(scores)) if top >= len(scores) else np.flatnonzero(scores >= np.partition(scores, -top)[-top])
    )
    best: list[int] = places[np.argsort(-scores[places], kind="stable")[:top]].tolist()
    return best


def _all_predicted(manifest: Manifest, scores: _Scores, threshold: float | None) -> tuple[str, ...]:
    """Every label whose score reaches its threshold, best first."""
    least = np.asarray(manifest.thresholds.per_class if threshold is None else threshold, dtype=np.float64)
    values = np.asarray(scores)
    places = np.flatnonzero(values >= least)
    return tuple(manifest.labels[i] for i in places[np.argsort(-values[places], kind="stable")].tolist())


def _unknown_by(
    thresholds: Thresholds, best: int, score: float, energy: float | None, similarity: float | None
) -> UnknownBy | None:
    """The rule that finds an image unknown; those that say more come first: like no class, not between two."""
    if (like_none_by := _like_none_by(thresholds, energy, similarity)) is not None:
        return like_none_by
    least = [] if thresholds.unknown_below is None else [thresholds.unknown_below]
    least += [] if thresholds.per_class is None else [thresholds.per_class[best]]
    return "score" if any(score < each for each in least) else None


def _like_none_by(thresholds: Thresholds, energy: float | None, similarity: float | None) -> UnknownBy | None:
    """The rule that finds an image like none of any class."""
    if thresholds.features is not None and similarity is not None and similarity < thresholds.features.below:
        return "features"
    if thresholds.energy is not None and energy is not None and energy < thresholds.energy.below:
        return "energy"
    return None


def scores_of(logits: NDArray[np.floating], manifest: Manifest) -> NDArray[np.float64]:
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
