"""Which pixels a prediction rests on: RISE, which hides parts of an image at random and watches the scores.

Petsiuk, Das, Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018. It needs nothing
but the outputs, and so works on any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import BackendError

MASKS = 200  # more of them bring no better curves
BATCH = 16
_CELLS, _KEPT = 7, 0.5  # a coarse grid of 7 x 7 cells, half of which stay visible

Scorer = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
Map = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """How images are hidden in part: `masks` of them, in batches of `batch_size`, drawn from `seed`."""

    masks: int = MASKS
    batch_size: int = BATCH
    seed: int = 0

    def batches(self, height: int, width: int) -> Iterator[NDArray[np.float32]]:
        """(B, height, width) masks, 1 where a pixel stays; made as they are needed, so that memory stays flat."""
        random = np.random.default_rng(self.seed)
        for start in range(0, self.masks, self.batch_size):
            count = min(self.batch_size, self.masks - start)
            yield np.stack([_mask(random, height, width) for _ in range(count)])


def _mask(random: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """A coarse grid of zeros and ones, enlarged smoothly and shifted by less than a cell."""
    cell_h, cell_w = -(-height // _CELLS), -(-width // _CELLS)
    grid = (random.random((_CELLS + 1, _CELLS + 1)) < _KEPT).astype(np.float32)
    size = ((_CELLS + 1) * cell_w, (_CELLS + 1) * cell_h)
    large = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    top, left = int(random.integers(cell_h)), int(random.integers(cell_w))
    found: NDArray[np.float32] = large[top : top + height, left : left + width]
    return found


def saliency_maps(
    score: Scorer,
    pixels: NDArray[np.uint8],
    classes: Sequence[int],
    perturbation: Perturbation = Perturbation(),
    advance: Callable[[int], None] = lambda images: None,
) -> NDArray[np.float64]:
    """(H, W, 3) uint8 -> (len(classes), H, W): the mean score of a class where a pixel is visible, as far as it moves.

    `score` is (N, H, W, 3) uint8 -> (N, all classes); `advance` gets the images done. Higher is more important; only
    differences within a map mean something. Raises BackendError where a score is no number.
    """
    height, width = pixels.shape[:2]
    hidden = mean_colour(pixels)
    total, visible = np.zeros((len(classes), height, width)), np.zeros((height, width))
    for masks in perturbation.batches(height, width):
        found = scores_at(score, blended(pixels, hidden, masks), classes)
        total += np.tensordot(found, masks, axes=(0, 0))
        visible += masks.sum(axis=0)
        advance(len(masks))
    return np.asarray(total / np.maximum(visible, 1e-6))


def mean_colour(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3,) the colour of what is hidden: the image's own mean, so that nothing bright or dark appears."""
    return np.asarray(pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64), dtype=np.float32)


def blended(pixels: NDArray[np.uint8], hidden: NDArray[np.float32], masks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, H, W) masks -> (N, H, W, 3) images, in the colour `hidden` where a mask is 0."""
    found = hidden + (pixels.astype(np.float32) - hidden) * masks[..., np.newaxis]
    return np.rint(found).astype(np.uint8)


def scores_at(score: Scorer, images: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float64]:
    """(N, H, W, 3) -> (N, len(classes)) scores. Raises BackendError where one is no number."""
    found = np.asarray(score(images)[:, list(classes)], dtype=np.float64)
    if not np.isfinite(found).all():
        raise BackendError("the engine gave NaN or infinite outputs; run `edgeclf verify`")
    return found
