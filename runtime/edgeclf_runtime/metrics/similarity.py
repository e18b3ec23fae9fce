"""Similarity: how much an image's features look like those of any class, and the threshold below which they don't."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.energy import EnergyThreshold, allowed_below, fit_energy_threshold, in_words, least_of


@dataclass(frozen=True, slots=True)
class SimilarityThreshold:
    """Below this similarity an image is unknown.

    Attributes
    ----------
    below
        A cosine, -1..1.
    false_alarms
        The share of images of the known classes that may be unknown, 0..1, by this rule and the energy together.
    images
        Validation images that it was chosen on.
    """

    below: float
    false_alarms: float
    images: int

    def __str__(self) -> str:
        return f"similarity {self.below:.3g} (false alarms of both {in_words(self.false_alarms)})"


def class_means(features: NDArray[np.floating], targets: NDArray[np.generic]) -> NDArray[np.float32]:
    """(classes, width) mean of the rows of (N, width) features that show each class: (N, classes) targets of 0 and 1.

    Raises DataError for a class without any.
    """
    means = np.empty((targets.shape[1], features.shape[1]), dtype=np.float32)
    for number, shown in enumerate(targets.T > 0):
        rows = features[shown]
        if not len(rows):
            raise DataError(f"no training image shows class {number}, so its features have no mean")
        means[number] = rows.mean(axis=0, dtype=np.float64)
    return means


class ClassMeans:
    """(classes, width) means of features, ready to compare images with."""

    def __init__(self, means: NDArray[np.floating]) -> None:
        self._directions = of_length_1(means).astype(np.float32)

    def similarities(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, width) features -> (N,) cosine with the nearest class mean, -1..1."""
        cosines = of_length_1(features).astype(np.float32) @ self._directions.T
        return np.asarray(cosines.max(axis=1), dtype=np.float64)


def of_length_1(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, width) rows divided by their length; a row of zeros stays."""
    values = rows.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0))


def fit_both_thresholds(
    energies: NDArray[np.float64], similarities: NDArray[np.float64], false_alarms: float
) -> tuple[EnergyThreshold, SimilarityThreshold]:
    """Thresholds of (N,) energies and similarities that take at most `false_alarms` of N known images for unknown.

    The share is that of both together. Each rule may take as many images, the most that keep to it: half of the allowed
    ones at least, all where both take the same.

    Raises DataError as `fit_energy_threshold` does.
    """
    fit_energy_threshold(energies, false_alarms)  # raises where energies tell nothing
    images, allowed = len(energies), allowed_below(len(energies), false_alarms)
    each = next(each for each in range(allowed, -1, -1) if _taken(energies, similarities, each) <= allowed)
    return (
        EnergyThreshold(least_of(energies, each), false_alarms, images),
        SimilarityThreshold(least_of(similarities, each), false_alarms, images),
    )


def _taken(energies: NDArray[np.float64], similarities: NDArray[np.float64], each: int) -> int:
    """How many images lie below a threshold where each rule may take `each` of them."""
    return int(((energies < least_of(energies, each)) | (similarities < least_of(similarities, each))).sum())
