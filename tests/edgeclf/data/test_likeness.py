"""Look-alikes: the search by bands against a comparison of all pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeclf.data import likeness
from edgeclf.data.likeness import find_alike
from edgeclf_runtime.images.likeness import MIRROR, MOST_BITS, Likeness


def _nearly_alike(count: int) -> list[Likeness]:
    """Likenesses in pairs whose hashes differ in 0 to 14 bits, some of a mirrored image; all of one thumbnail."""
    rng = np.random.default_rng(0)
    thumbnail = np.tile(np.arange(8, dtype=np.uint8) * 20, 32)
    flat = np.concatenate([thumbnail.reshape(16, 16)[:, :8], thumbnail.reshape(16, 16)[:, 7::-1]], axis=1).tobytes()
    made = []
    for number in range(count):
        bits = int(rng.integers(0, 1 << 63))
        flipped = sum(1 << int(place) for place in rng.choice(63, number % 15, replace=False))
        other = bits ^ flipped ^ (int(MIRROR) if number % 2 else 0)
        made += [Likeness(bits, flat), Likeness(other, flat)]
    return made


def _all_pairs(given: list[Likeness]) -> dict[tuple[int, int, bool], int]:
    """Every pair that is close, straight or mirrored, by counting the bits of each."""
    found = {}
    for first in range(len(given)):
        for second in range(first + 1, len(given)):
            for mirrored in (False, True):
                turned = given[first].bits ^ (int(MIRROR) if mirrored else 0)
                bits = (turned ^ given[second].bits).bit_count()
                if bits <= MOST_BITS:
                    found[first, second, mirrored] = bits
    return found


def test_the_search_finds_what_a_comparison_of_all_pairs_finds() -> None:
    given = _nearly_alike(200)
    found, cut = find_alike(given)
    assert {(each.first, each.second, each.mirrored): each.bits for each in found} == _all_pairs(given)
    assert len(found) > 100 and not cut


@pytest.mark.parametrize("count", [30, 1_000, 50_000, 1_000_000])
def test_no_pair_is_missed_whatever_cut_of_the_hashes_a_number_of_images_asks_for(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = likeness._bands_for(count)
    monkeypatch.setattr(likeness, "_bands_for", lambda _: cut)
    given = _nearly_alike(150)
    found = [((each.first, each.second, each.mirrored), each.bits) for each in find_alike(given)[0]]
    assert dict(found) == _all_pairs(given) and len(found) == len(dict(found))


def test_bits_are_counted_alike_with_any_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).integers(0, 1 << 63, 1000, dtype=np.uint64)
    wanted = [int(each).bit_count() for each in numbers]
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert likeness.popcounts(numbers).tolist() == wanted


def test_pairs_are_the_same_however_few_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _nearly_alike(100)
    whole = find_alike(given)
    monkeypatch.setattr(likeness, "_PAIRS_AT_A_TIME", 5)
    assert find_alike(given) == whole


def test_candidates_are_looked_at_again_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = _nearly_alike(200)
    starts: list[int] = []

    def in_threads(work: Callable[[int], Likeness], places: list[int]) -> list[Likeness]:
        starts.append(len(places))
        return [work(place) for place in places]

    monkeypatch.setattr(likeness, "in_threads", in_threads)
    bare = [Likeness(each.bits, b"") for each in given]
    assert find_alike(bare, given.__getitem__) == find_alike(given)
    assert len(starts) <= 4 and sum(starts) > 200  # the first and second of pairs, as they are and mirrored


def test_a_large_set_has_a_few_candidates_an_image_before_the_search_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    noise = [Likeness(7, random.integers(0, 256, 256, dtype=np.uint8).tobytes()) for _ in range(100)]
    monkeypatch.setattr(likeness, "_MOST_FOUND", 10)
    monkeypatch.setattr(likeness, "_CANDIDATES_AN_IMAGE", 100)  # more than there are: 49.5 an image
    assert find_alike(noise) == ([], False)
    monkeypatch.setattr(likeness, "_CANDIDATES_AN_IMAGE", 40)
    assert find_alike(noise) == ([], True)
