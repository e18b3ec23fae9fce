"""Images that look the same: perceptual hashes find candidates among all pairs, small grey copies confirm them.

Hashes that differ in few bits are found as multi-index hashing does (Norouzi, Punjani, Fleet: Fast Search in Hamming
Space with Multi-Index Hashing, CVPR 2012): of the bands that they are cut into, one differs in fewer bits still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.likeness import (
    LEAST_CORRELATION,
    MIRROR,
    MOST_BITS,
    SIDE,
    Hashes,
    Likeness,
    describe,
    standardised,
)
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.threads import in_threads

_MOST_FOUND, _CANDIDATES_AN_IMAGE = 200_000, 4  # a million unlike photographs give about 2 candidates an image
_TILE = 1024
_PAIRS_AT_A_TIME = 1 << 18
_HASH_BITS, _WIDEST_BAND = 63, 21
_MASK_COST, _LOOK_UP_COST = 3000, 2.5  # beside comparing two hashes

Indices = NDArray[np.int64]


def likeness_of(path: Path) -> Likeness | None:
    """The likeness of an image file; None: it can't be read."""
    try:
        with BUDGET.share() as reserve:
            return describe(decode(path, reserve=reserve).image)
    except ImageError:
        return None


@dataclass(frozen=True, slots=True)
class Alike:
    """Two images by their indices: bits in which their hashes differ, correlation of their grey copies."""

    first: int
    second: int
    bits: int
    correlation: float
    mirrored: bool


def find_alike(
    likenesses: Sequence[Likeness], look_again: Callable[[int], Likeness | None] = lambda _: None
) -> tuple[list[Alike], bool]:
    """Pairs that look the same, closest first; True where there were too many candidates to check them all.

    Images of one colour are left out: they look like each other whatever they show. Memory: 0.2 KB an image.

    Parameters
    ----------
    look_again
        The likeness of an image, by its place, of which the hash alone is known; threads call it, for candidates alone.
        None: it can't be read any more.
    """
    copies = _GreyCopies(likenesses, look_again)
    most = max(_MOST_FOUND, _CANDIDATES_AN_IMAGE * len(likenesses))
    kept = np.flatnonzero([not each.flat for each in likenesses])
    hashes = np.array([likenesses[place].bits for place in kept.tolist()], dtype=np.uint64)
    found: list[Alike] = []
    candidates = 0
    for mirrored in (False, True) if len(kept) > 1 else ():
        for first, second, bits in _in_tiles(_close(hashes, mirrored)):
            candidates += len(first)
            found += _confirmed(copies, kept[first], kept[second], bits, mirrored)
            if candidates > most or len(found) > _MOST_FOUND:
                return _closest(found), True
    return _closest(found), False


class _GreyCopies:
    """16x16 grey levels of each image; those that are lacking are made when they are first asked for."""

    def __init__(self, likenesses: Sequence[Likeness], look_again: Callable[[int], Likeness | None]) -> None:
        self._copies = [each.thumbnail for each in likenesses]
        self._look_again = look_again

    def of(self, places: Indices) -> NDArray[np.uint8]:
        """(N,) places -> (N, 256) grey levels, 0 for an image that can't be read any more."""
        asked = places.tolist()
        if wanted := sorted({place for place in asked if not self._copies[place]}):
            for place, seen in zip(wanted, in_threads(self._look_again, wanted), strict=True):
                self._copies[place] = seen.thumbnail if seen is not None else bytes(SIDE * SIDE)
        return np.frombuffer(b"".join([self._copies[place] for place in asked]), np.uint8).reshape(-1, SIDE * SIDE)


@dataclass(frozen=True, slots=True)
class _Bands:
    """How hashes are cut: the bits of a band, and how many of them may differ at most, for each band.

    Those and 1 for each band sum to one more than MOST_BITS: hashes that exceed them in every band are too different.
    """

    width: int
    radii: tuple[int, ...]

    def cost(self, count: int) -> float:
        """Of a search among so many hashes, in comparisons of two of them."""
        masks = sum(math.comb(self.width, bits) for radius in self.radii for bits in range(radius + 1))
        return masks * (_MASK_COST + count * (_LOOK_UP_COST + count / (1 << self.width)) / 2)


def _bands_for(count: int) -> _Bands:
    """The cheapest cut for so many hashes: 1,000 take 10 bands, a million 3 of 21 bits."""
    cuts = []
    for bands in range(3, MOST_BITS + 2):
        radius, larger = divmod(MOST_BITS + 1 - bands, bands)
        radii = tuple(radius + (band < larger) for band in range(bands))
        cuts += [_Bands(width, radii) for width in range(1, min(_HASH_BITS // bands, _WIDEST_BAND) + 1)]
    return min(cuts, key=lambda cut: cut.cost(count))


def _close(hashes: Hashes, mirrored: bool) -> Iterator[tuple[Indices, Indices, Indices]]:
    """Pairs (first < second) whose hashes differ in few bits, each once, with the number of those bits."""
    cut = _bands_for(len(hashes))
    turn = MIRROR if mirrored else np.uint64(0)
    for band, radius in enumerate(cut.radii):
        values = _bits(hashes, band, cut.width)
        order = np.argsort(values, kind="stable")
        in_order = hashes[order]
        masks = _masks(cut.width, radius) ^ int(_bits(turn, band, cut.width))
        for one, other in _close_in_band(values[order], masks, cut.width):
            difference = in_order[one] ^ in_order[other] ^ turn
            bits = popcounts(difference)
            near = np.flatnonzero(bits <= MOST_BITS)
            for earlier in range(band):  # found there, too
                near = near[popcounts(_bits(difference[near], earlier, cut.width)) > cut.radii[earlier]]
            first, second = order[one[near]], order[other[near]]
            yield np.minimum(first, second), np.maximum(first, second), bits[near].astype(np.int64)


def _in_tiles(pairs: Iterable[tuple[Indices, ...]]) -> Iterator[tuple[Indices, ...]]:
    """The same pairs, at least a tile of them at a time: threads that look again are started a few times only."""
    waiting: list[tuple[Indices, ...]] = []
    count = 0
    for each in pairs:
        if len(each[0]):
            waiting.append(each)
            count += len(each[0])
        if count >= _TILE:
            yield tuple(map(np.concatenate, zip(*waiting, strict=True)))
            waiting, count = [], 0
    if waiting:
        yield tuple(map(np.concatenate, zip(*waiting, strict=True)))


def _close_in_band(values: Indices, masks: Indices, width: int) -> Iterator[tuple[Indices, Indices]]:
    """Places of two sorted numbers of `width` bits that differ by one of the masks, each pair once; some at a time."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << width))])
    places = np.arange(len(values))
    for length, of_length in groupby(sorted(masks.tolist()), key=int.bit_length):
        # of two numbers, the one without the highest bit of the mask is looked up
        rows = places if length == 0 else np.flatnonzero((values >> (length - 1)) & 1 == 0)
        probes = values[rows]
        for mask in of_length:
            ends = starts[1:][probes ^ mask]
            begins = rows + 1 if mask == 0 else starts[probes ^ mask]
            hits = np.flatnonzero(ends > begins)
            yield from _runs(rows[hits], begins[hits], (ends - begins)[hits])


def _runs(rows: Indices, begins: Indices, lengths: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Each row with each place of its run, about as many pairs at a time as fit a processor's cache."""
    ends = np.cumsum(lengths)
    done = 0
    while done < len(rows):
        before = int(ends[done - 1]) if done else 0
        part = slice(done, max(done + 1, int(np.searchsorted(ends, before + _PAIRS_AT_A_TIME, side="right"))))
        shifts = begins[part] - (ends[part] - lengths[part] - before)
        other = np.arange(int(ends[part][-1]) - before) + np.repeat(shifts, lengths[part])
        yield np.repeat(rows[part], lengths[part]), other
        done = part.stop


def _bits(hashes: Any, band: int, width: int) -> Any:
    """One band of each hash as a number."""
    return ((hashes >> np.uint64(width * band)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _masks(width: int, radius: int) -> Indices:
    """The numbers of `width` bits with `radius` bits set at most."""
    places = [
        sum(1 << bit for bit in chosen) for bits in range(radius + 1) for chosen in combinations(range(width), bits)
    ]
    return np.array(places, dtype=np.int64)


def popcounts(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """How many bits are set in each number, none of them negative."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(numbers))
    left = numbers.astype(np.uint64)  # numpy 1: sums of 2, 4 and 8 bits beside each other
    left -= (left >> np.uint64(1)) & np.uint64(0x5555555555555555)
    left = (left & np.uint64(0x3333333333333333)) + ((left >> np.uint64(2)) & np.uint64(0x3333333333333333))
    left = (left + (left >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((left * np.uint64(0x0101010101010101)) >> np.uint64(56), dtype=np.uint8)


def _confirmed(copies: _GreyCopies, first: Indices, second: Indices, bits: Indices, mirrored: bool) -> Iterator[Alike]:
    """The pairs whose grey copies correlate."""
    for start in range(0, len(first), _TILE):
        part = slice(start, start + _TILE)
        ones, others = copies.of(first[part]), copies.of(second[part])
        if mirrored:
            others = others.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)
        with np.errstate(invalid="ignore"):  # 0/0: a file that is gone
            correlations = (standardised(ones) * standardised(others)).mean(axis=1)
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
