"""Histograms of oriented gradients in numpy: what the classical baseline sees of an image.

Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005, with the details of
`skimage.feature.hog(grey, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys")`.
Grey levels are whole numbers, so are gradients, and a table of all 511 x 511 of them replaces the arc tangent.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE_PX = 64
ORIENTATIONS = 9
_CELL_PX, _CELLS, _BLOCKS = 8, 8, 7
FEATURES = _BLOCKS * _BLOCKS * 2 * 2 * ORIENTATIONS  # 1,764
_EPSILON, _CLIP = 1e-5, 0.2
_CHUNK = 16  # the working set, about 3 MB, stays in a core's cache


def grey_levels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(…, 3) uint8 RGB -> (…) uint8, ITU-R 601 luma rounded as Pillow's `convert("L")` rounds it.

    Whole numbers, so every machine gets the same ones. OpenCV's are at most a level apart; scikit-image's `rgb2gray`
    has other weights (ITU-R 709) and fractions.
    """
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def hog(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 64, 64) uint8 grey -> (N, 1764) float32, within 1e-6 of scikit-image's."""
    if grey.dtype != np.uint8 or grey.shape[1:] != (SIDE_PX, SIDE_PX):
        raise ValueError(f"wanted (N, {SIDE_PX}, {SIDE_PX}) uint8, found {grey.shape} {grey.dtype}")
    features = np.empty((len(grey), FEATURES), dtype=np.float32)
    for start in range(0, len(grey), _CHUNK):
        chunk = grey[start : start + _CHUNK]
        features[start : start + _CHUNK] = _normalized_blocks(_cell_histograms(chunk)).reshape(len(chunk), FEATURES)
    return features


def _cell_histograms(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 64, 64) grey -> (N, 8, 8, 9): mean gradient magnitude per cell and orientation, 20 degrees each."""
    levels = grey.astype(np.int32)
    across, down = np.zeros_like(levels), np.zeros_like(levels)  # the border has no gradient across it
    np.subtract(levels[:, :, 2:], levels[:, :, :-2], out=across[:, :, 1:-1])
    np.subtract(levels[:, 2:], levels[:, :-2], out=down[:, 1:-1])
    orientations, places = _tables()
    bins = orientations.take(down * 511 + across + 255 * 512)  # index 0 is the gradient (-255, -255)
    bins += places
    bins += np.arange(len(grey))[:, None, None] * (_CELLS * _CELLS * ORIENTATIONS)
    magnitudes = np.sqrt(across * across + down * down)
    sums = np.bincount(bins.ravel(), magnitudes.ravel(), minlength=len(grey) * _CELLS * _CELLS * ORIENTATIONS)
    return sums.reshape(len(grey), _CELLS, _CELLS, ORIENTATIONS) / _CELL_PX**2


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(511 * 511,) orientation bin of the gradient (down, across); (64, 64) where each pixel's histogram begins.

    No gradient of whole numbers but the level one falls on the border of two bins (tangents of 20, 40, … degrees are
    irrational), so rounding in the arc tangent can't show.
    """
    steps = np.arange(-255, 256, dtype=np.float64)
    degrees = np.rad2deg(np.arctan2(steps[:, None], steps[None, :])) % 180
    cells = np.arange(SIDE_PX) // _CELL_PX
    places = (cells[:, None] * _CELLS + cells[None, :]) * ORIENTATIONS
    return (degrees // (180 / ORIENTATIONS)).astype(np.intp).ravel(), places.astype(np.intp)


def _normalized_blocks(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 8, 8, 9) -> (N, 7, 7, 2, 2, 9): overlapping blocks of 2 x 2 cells, L2 norm, clipped at 0.2, L2 norm again."""
    quarters = [cells[:, row : row + _BLOCKS, column : column + _BLOCKS] for row in (0, 1) for column in (0, 1)]
    blocks = np.stack(quarters, axis=3)  # (N, 7, 7, 4, 9)
    for clip in (True, False):
        energy = np.einsum("nrcko,nrcko->nrc", blocks, blocks)
        blocks /= np.sqrt(energy + _EPSILON**2)[..., None, None]
        if clip:
            np.minimum(blocks, _CLIP, out=blocks)
    return blocks


_LIBRARY = re.compile(r"(/\S*(?:openblas|mkl_rt|blis)\S*\.so\S*)$", re.MULTILINE)
# numpy's own wheels rename OpenBLAS's functions; distributions don't
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
)


def set_blas_threads(count: int) -> bool:
    """Sets the threads of matrix products for the whole process; False where no BLAS that takes orders is loaded."""
    found = list(_setters())
    for setter in found:
        setter(count)
    return bool(found)


def _setters() -> Iterator[ctypes._NamedFuncPointer]:
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for path in sorted(set(_LIBRARY.findall(maps))):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in _SETTERS:
            if hasattr(library, name):
                setter = getattr(library, name)
                setter.argtypes, setter.restype = (ctypes.c_int,), None
                yield setter
                break
