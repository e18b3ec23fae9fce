"""Images that look the same: perceptual hashes find candidates among all pairs, small grey copies confirm them.

Hashes that differ in few bits are found as multi-index hashing does (Norouzi, Punjani, Fleet: Fast Search in Hamming
Space with Multi-Index Hashing, CVPR 2012): where 10 bits differ, one of four bands differs in 2 at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.images.likeness import (
    FLAT_LEVELS,
    LEAST_CORRELATION,
    MIRROR,
    MOST_BITS,
    SIDE,
    Hashes,
    Likeness,
    standardised,
)

_MOST_CANDIDATES = 200_000
_TILE = 1024
_PAIRS_AT_A_TIME = 1 << 20
_BAND_DIFFERS = 2  # bits at most, in one band of a pair

# How many bands, and the bits of each. The time of few grows with the square of the images, that of large with their
# number; it misses pairs with 3 bits and more in each of its bands: 9 % of those that differ in 9 bits, 21 % in 10.
_FEW, _LARGE, _MOST_OF_FEW = (4, 16), (3, 21), 30_000

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two images by their indices: bits in which their hashes differ, correlation of their grey copies."""

    first: int
    second: int
    bits: int
    correlation: float
    mirrored: bool


def find_alike(likenesses: list[Likeness]) -> tuple[list[Alike], bool]:
    """Pairs that look the same, closest first; True where there were too many candidates to check them all.

    Images of one colour are left out: they look like each other whatever they show. Memory: 0.3 KB an image.
    """
    if len(likenesses) < 2:
        return [], False
    thumbnails = np.frombuffer(b"".join(each.thumbnail for each in likenesses), np.uint8).reshape(len(likenesses), -1)
    kept = np.flatnonzero(_deviations(thumbnails) >= FLAT_LEVELS)
    hashes = np.array([each.bits for each in likenesses], dtype=np.uint64)[kept]
    found: list[Alike] = []
    candidates = 0
    for mirrored in (False, True):
        for first, second, bits in _close(hashes, mirrored):
            candidates += len(first)
            found += _confirmed(thumbnails, kept[first], kept[second], bits, mirrored)
            if candidates > _MOST_CANDIDATES:
                return _closest(found), True
    return _closest(found), False


def _close(hashes: Hashes, mirrored: bool) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Pairs (first < second) whose hashes differ in few bits, each once, with the number of those bits."""
    turned = hashes ^ MIRROR if mirrored else hashes
    bands, width = _FEW if len(hashes) <= _MOST_OF_FEW else _LARGE
    for band in range(bands):
        for first, second in _close_in_band(_bits(turned, band, width), _bits(hashes, band, width), width):
            difference = turned[first] ^ hashes[second]
            of_bands = [_POPCOUNT[_bits(difference, each, width)] for each in range(bands)]
            bits = np.add.reduce(of_bands, dtype=np.int64)
            wanted = bits <= MOST_BITS
            for found_there_too in of_bands[:band]:
                wanted &= found_there_too > _BAND_DIFFERS
            yield first[wanted], second[wanted], bits[wanted]


def _close_in_band(turned: Indices, values: Indices, width: int) -> Iterator[tuple[Indices, Indices]]:
    """Pairs (first < second) of `turned` and `values`, numbers of `width` bits, that are close; some at a time."""
    order = np.argsort(values, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << width))])
    probes = turned[order]  # neighbours in the table, one after the other
    for mask in np.flatnonzero(_POPCOUNT[: 1 << width] <= _BAND_DIFFERS):
        begins = starts[probes ^ mask]
        lengths = starts[(probes ^ mask) + 1] - begins
        hits = np.flatnonzero(lengths)
        begins, lengths = begins[hits], lengths[hits]
        ends = np.cumsum(lengths)
        done = 0
        while done < len(hits):
            before = int(ends[done - 1]) if done else 0
            upto = max(done + 1, int(np.searchsorted(ends, before + _PAIRS_AT_A_TIME, side="right")))
            part = slice(done, upto)
            first = order[np.repeat(hits[part], lengths[part])]
            places = np.arange(len(first)) - np.repeat(ends[part] - lengths[part] - before, lengths[part])
            second = order[np.repeat(begins[part], lengths[part]) + places]
            below = first < second
            yield first[below], second[below]
            done = upto


def _bits(hashes: Hashes, band: int, width: int) -> Indices:
    """One band of each hash as a number."""
    part = (hashes >> np.uint64(width * band)) & np.uint64((1 << width) - 1)
    return np.asarray(part, dtype=np.int64)


def _confirmed(
    thumbnails: NDArray[np.uint8], first: Indices, second: Indices, bits: Indices, mirrored: bool
) -> Iterator[Alike]:
    """The pairs whose grey copies correlate."""
    for start in range(0, len(first), _TILE):
        part = slice(start, start + _TILE)
        others = thumbnails[second[part]]
        if mirrored:
            others = others.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)
        correlations = (standardised(thumbnails[first[part]]) * standardised(others)).mean(axis=1)
        for i in np.flatnonzero(correlations >= LEAST_CORRELATION):
            place = start + int(i)
            yield Alike(
                int(first[place]), int(second[place]), int(bits[place]), round(float(correlations[i]), 4), mirrored
            )


def _closest(found: list[Alike]) -> list[Alike]:
    """Each pair once, mirrored only where it is not alike as it is; closest first."""
    pairs: dict[tuple[int, int], Alike] = {}
    for each in found:
        pairs.setdefault((each.first, each.second), each)
    return sorted(pairs.values(), key=lambda each: (-each.correlation, each.first, each.second))


def _popcounts(width: int) -> NDArray[np.uint8]:
    """How many bits are set in each number of `width` bits."""
    counts = np.zeros(1 << width, dtype=np.uint8)
    for bit in range(width):
        counts[1 << bit : 2 << bit] = counts[: 1 << bit] + 1
    return counts


def _deviations(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N,) the standard deviation of each thumbnail's levels, in bounded memory."""
    parts = range(0, len(thumbnails), _TILE)
    return np.concatenate([thumbnails[start : start + _TILE].std(axis=1) for start in parts])


_POPCOUNT = _popcounts(_LARGE[1])
