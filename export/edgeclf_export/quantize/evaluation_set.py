"""The images that INT8 is evaluated on, and what a model's figure on them is against the reference's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.metrics.main_figure import Figure


@dataclass(frozen=True)
class EvaluationSet:
    """Evaluation images, and the reference's logits for them. `labels`: None where the right classes are not known.

    Where an image may have several labels, `label_logits` (classes,) are the reference's from which on each is
    predicted, and `targets` (N, classes) takes the place of `labels`.
    """

    reference: NDArray[np.float32]
    labels: NDArray[np.intp] | None
    temperature: float
    groups: Sequence[str | None] | None
    source: str
    targets: NDArray[np.bool_] | None = None
    label_logits: NDArray[np.float64] | None = None

    @property
    def labelled(self) -> bool:
        """Whether it is known what is right; else the reference's predictions stand in for that."""
        return self.labels is not None or self.targets is not None

    @property
    def right(self) -> NDArray[np.intp]:
        """(N,) the classes that count as right: without labels the reference's predictions."""
        predictions: NDArray[np.intp] = self.reference.argmax(axis=1)
        return predictions if self.labels is None else self.labels


@dataclass(frozen=True)
class Figures:
    """A figure of 0..1 for the reference and for a model, on the same images (paired).

    Attributes
    ----------
    lost, won
        Predictions that only the reference, or only the model, has right: images, or labels of images.
    change_points, bounds_points
        What changes, and the one-sided 95 % bounds of that.
    kl
        (N,) divergence from the reference's probabilities, nats.
    ece_reference, ece, lowest_rise
        Calibration errors, and the one-sided 95 % lower bound of the rise; None without labels.
    images_needed
        From the margin in points, the images that would settle the verdict; None: more images never will.
    """

    metric: Figure
    reference: float
    model: float
    lost: int
    won: int
    change_points: float
    bounds_points: tuple[float, float]
    kl: NDArray[np.float64]
    ece_reference: float | None
    ece: float | None
    lowest_rise: float | None
    images_needed: Callable[[float], int | None]
