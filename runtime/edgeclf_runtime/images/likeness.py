"""How alike images look: a perceptual hash, and a small grey copy to confirm it.

The hash is the signs of the 63 lowest frequencies of a 32x32 grey copy's cosine transform (DCT). It survives another
file format, size, brightness and contrast; a mirrored image has the same signs but for odd horizontal frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_BITS = 10  # of 63; unrelated images differ in about 31
LEAST_CORRELATION = 0.95
FLAT_LEVELS = 2.0  # standard deviation below which an image is of one colour, and its hash is noise
SIDE = 16  # of the grey copy
_HASHED, _LOW = 2 * SIDE, 8

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is kept of an image: 63 signs as bits, and 16x16 grey levels, a byte each, empty where they are made later.

    `flat`: the image is of one colour, nearly.
    """

    bits: int
    thumbnail: bytes
    flat: bool = False


def describe(image: Image.Image) -> Likeness:
    """The likeness of an RGB image of any size."""
    grey = np.asarray(image.resize((_HASHED, _HASHED), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"))
    frequencies = _COSINES @ grey @ _COSINES.T
    halves = grey.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    levels = np.rint(halves).astype(np.uint8)
    return Likeness(_packed(frequencies.ravel()[1:] >= 0), levels.tobytes(), bool(levels.std() < FLAT_LEVELS))


class KnownImages:
    """Images that were seen, to which others are compared one by one. Memory: 0.3 KB an image."""

    def __init__(self, seen: Sequence[Likeness] = ()) -> None:
        self._hashes: list[int] = []
        self._thumbnails: list[bytes] = []
        for likeness in seen:
            self.add(likeness)

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, likeness: Likeness) -> None:
        self._hashes.append(likeness.bits)
        self._thumbnails.append(likeness.thumbnail)

    def find(self, likeness: Likeness) -> int | None:
        """The place of the first that looks the same, mirrored or not; images of one colour look like each other."""
        thumbnail = np.frombuffer(likeness.thumbnail, np.uint8)
        flat = thumbnail.std() < FLAT_LEVELS
        for mirrored in (False, True):
            bits = likeness.bits ^ int(MIRROR) if mirrored else likeness.bits
            copy = thumbnail.reshape(SIDE, SIDE)[:, ::-1].ravel() if mirrored else thumbnail
            for place, known in enumerate(self._hashes):
                if not flat and (bits ^ known).bit_count() > MOST_BITS:
                    continue
                other = np.frombuffer(self._thumbnails[place], np.uint8)
                if flat or other.std() < FLAT_LEVELS:
                    if flat and other.std() < FLAT_LEVELS:
                        return place
                elif float((standardised(copy[None]) * standardised(other[None])).mean()) >= LEAST_CORRELATION:
                    return place
        return None


def standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, pixels) grey levels -> the same with a mean of 0 and a standard deviation of 1 in each row."""
    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / values.std(axis=1, keepdims=True))


def _cosines() -> NDArray[np.float32]:
    """(8, 32): the lowest rows of the orthonormal DCT-II matrix."""
    frequency, position = np.mgrid[:_LOW, :_HASHED]
    return np.asarray(np.cos(np.pi * frequency * (2 * position + 1) / (2 * _HASHED)), dtype=np.float32)


def _packed(signs: NDArray[np.bool_]) -> int:
    """63 signs as one number, the first in its lowest bit."""
    return int.from_bytes(np.packbits(signs, bitorder="little").tobytes(), "little")


_COSINES = _cosines()
MIRROR = np.uint64(_packed(np.tile([False, True], _LOW * _LOW // 2)[1:]))
