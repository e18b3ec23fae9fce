"""Images that look the same: a perceptual hash finds candidates among all pairs, small grey copies confirm them.

The hash is the signs of the 63 lowest frequencies of a 32x32 grey copy's cosine transform (DCT). It survives another
file format, size, brightness and contrast; a mirrored image has the same signs but for odd horizontal frequencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_BITS = 10  # of 63; unrelated images differ in about 31
LEAST_CORRELATION = 0.95
_MOST_CANDIDATES = 200_000
_TILE = 1024
_FLAT_LEVELS = 2.0
_SIDE, _LOW = 32, 8


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is kept of an image: 63 signs (int8, -1 or 1), and 16x16 grey levels (uint8) in one row."""

    signs: NDArray[np.int8]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two images by their indices: bits in which their hashes differ, correlation of their grey copies."""

    first: int
    second: int
    bits: int
    correlation: float
    mirrored: bool


def describe(image: Image.Image) -> Likeness:
    """The likeness of an RGB image of any size."""
    grey = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"))
    frequencies = _COSINES @ grey @ _COSINES.T
    signs = np.where(frequencies.ravel()[1:] >= 0, 1, -1).astype(np.int8)
    halves = grey.reshape(_SIDE // 2, 2, _SIDE // 2, 2).mean(axis=(1, 3))
    return Likeness(signs, np.rint(halves).astype(np.uint8).ravel())


def find_alike(likenesses: list[Likeness]) -> tuple[list[Alike], bool]:
    """Pairs that look the same, closest first; True where there were too many candidates to check them all.

    Images of one colour are left out: they look like each other whatever they show. All pairs are compared by matrix
    products of the signs, so 50,000 images take seconds and memory stays flat.
    """
    if len(likenesses) < 2:
        return [], False
    thumbnails = np.stack([each.thumbnail for each in likenesses])
    kept = np.flatnonzero(thumbnails.std(axis=1) >= _FLAT_LEVELS)
    signs = np.stack([each.signs for each in likenesses])[kept].astype(np.float32)
    found: list[Alike] = []
    candidates = 0
    for mirrored in (False, True):
        for first, second, bits in _close(signs, mirrored):
            candidates += len(first)
            found += _confirmed(thumbnails, kept[first], kept[second], bits, mirrored)
            if candidates > _MOST_CANDIDATES:
                return _closest(found), True
    return _closest(found), False


def _close(
    signs: NDArray[np.float32], mirrored: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (first < second) whose hashes differ in few bits, tile by tile, with the bits."""
    turned = signs * _MIRROR if mirrored else signs
    most = signs.shape[1] - 2 * MOST_BITS  # the product of two hashes is 63 - 2 * (differing bits)
    for top in range(0, len(signs), _TILE):
        for left in range(top, len(signs), _TILE):
            products = turned[top : top + _TILE] @ signs[left : left + _TILE].T
            first, second = np.divmod(np.flatnonzero(products >= most), products.shape[1])
            bits = (signs.shape[1] - products[first, second]).astype(np.int64) // 2
            below = first + top < second + left
            yield first[below] + top, second[below] + left, bits[below]


def _confirmed(
    thumbnails: NDArray[np.uint8],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    bits: NDArray[np.int64],
    mirrored: bool,
) -> Iterator[Alike]:
    """The pairs whose grey copies correlate."""
    for start in range(0, len(first), _TILE):
        part = slice(start, start + _TILE)
        others = thumbnails[second[part]]
        if mirrored:
            side = _SIDE // 2
            others = others.reshape(-1, side, side)[:, :, ::-1].reshape(-1, side * side)
        correlations = (_standardised(thumbnails[first[part]]) * _standardised(others)).mean(axis=1)
        for i in np.flatnonzero(correlations >= LEAST_CORRELATION):
            place = start + int(i)
            yield Alike(
                int(first[place]), int(second[place]), int(bits[place]), round(float(correlations[i]), 4), mirrored
            )


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / values.std(axis=1, keepdims=True))


def _closest(found: list[Alike]) -> list[Alike]:
    """Each pair once, mirrored only where it is not alike as it is; closest first."""
    pairs: dict[tuple[int, int], Alike] = {}
    for each in found:
        pairs.setdefault((each.first, each.second), each)
    return sorted(pairs.values(), key=lambda each: (-each.correlation, each.first, each.second))


def _cosines() -> NDArray[np.float32]:
    """(8, 32): the lowest rows of the orthonormal DCT-II matrix."""
    frequency, position = np.mgrid[:_LOW, :_SIDE]
    return np.asarray(np.cos(np.pi * frequency * (2 * position + 1) / (2 * _SIDE)), dtype=np.float32)


_COSINES = _cosines()
_MIRROR = np.tile([1, -1], _LOW * _LOW // 2)[1:].astype(np.float32)
