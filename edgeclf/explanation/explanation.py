"""One image explained: the class, its map, how good the map is, and what of it goes into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf.explanation.curves import STEPS, Curves, centre_prior, curves_of
from edgeclf.explanation.overlay import coarse
from edgeclf.explanation.rise import Map, Perturbation, Scorer, saliency_maps

CURVE_IMAGES = 4 * (STEPS + 1)  # two curves of the map, two of the centre prior


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an image gets the score that it gets for one class.

    Attributes
    ----------
    label, score
        The class that is explained, and its score (a probability, or a margin).
    map
        Means of the map over at most 14 x 14 parts of what the network sees, row by row from the top; 0..1.
    curves, centre_curves
        Of the map, and of a centre prior, which any useful map is better than.
    """

    label: str
    score: float
    map: tuple[tuple[float, ...], ...]
    curves: Curves
    centre_curves: Curves

    @property
    def is_useful(self) -> bool:
        """Whether the score falls faster where the map's pixels vanish than where those in the middle do."""
        return self.curves.deletion_auc < self.centre_curves.deletion_auc

    def __str__(self) -> str:
        deletion, insertion = self.curves.deletion_auc, self.curves.insertion_auc
        centre = self.centre_curves
        return (
            f"deletion {deletion:.3f} (centre prior {centre.deletion_auc:.3f}), "
            f"insertion {insertion:.3f} ({centre.insertion_auc:.3f})"
        )


def explain_image(
    score: Scorer,
    pixels: NDArray[np.uint8],
    classes: Mapping[int, str],
    perturbation: Perturbation,
    advance: Callable[[int], None] = lambda images: None,
) -> Iterator[tuple[Explanation, Map]]:
    """The explanation of each class (number -> label), from the same masks, and its (H, W) map."""
    size = perturbation.batch_size
    maps = saliency_maps(score, pixels, tuple(classes), perturbation, advance)
    for (number, label), found in zip(classes.items(), maps, strict=True):
        curves = curves_of(score, pixels, found, number, size, advance)
        centre = curves_of(score, pixels, centre_prior(*found.shape), number, size, advance)
        value = curves.deletion[0]  # nothing is hidden there
        yield Explanation(label, value, coarse(found), curves, centre), found


def images_per_map(perturbation: Perturbation, classes: int = 1) -> int:
    """How many images go through the engine to explain so many classes of one image."""
    return perturbation.masks + classes * CURVE_IMAGES


def means(found: Sequence[Explanation]) -> tuple[float, float]:
    """The mean deletion areas of the maps and of the centre prior."""
    areas = [(each.curves.deletion_auc, each.centre_curves.deletion_auc) for each in found]
    ours, centres = np.mean(areas, axis=0).tolist()
    return ours, centres
