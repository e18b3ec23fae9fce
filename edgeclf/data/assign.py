"""Assigns images to splits: images that belong together stay in one split, and each class keeps its shares."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.images.labelled import SPLITS, Split


def join_clusters(ties: Sequence[Iterable[str | None]]) -> list[list[int]]:
    """Indices of images, joined where they share a tie (union-find). The first of a cluster is its smallest.

    Parameters
    ----------
    ties
        For each image what it may share with others, such as its content's hash and its group; None ties nothing.
    """

    def pairs() -> Iterator[tuple[int, int]]:
        owners: dict[tuple[int, str], int] = {}
        for index, names in enumerate(ties):
            for kind, name in enumerate(names):
                if name is not None:
                    yield owners.setdefault((kind, name), index), index

    return join_pairs(len(ties), pairs())


def join_pairs(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Indices 0..count-1, joined by chains of pairs (union-find). The first of a cluster is its smallest."""
    parents = list(range(count))

    def find(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for one, other in pairs:
        one, other = find(one), find(other)
        parents[max(one, other)] = min(one, other)
    clusters: dict[int, list[int]] = defaultdict(list)
    for index in range(count):
        clusters[find(index)].append(index)
    return list(clusters.values())


def allot(
    clusters: Sequence[list[int]],
    paths: Sequence[str],
    seed: int,
    deal: Callable[[Sequence[list[int]]], list[int]],
) -> list[Split]:
    """The split of every image. Chance comes from a hash of seed and path: equal on every machine and Python.

    `deal`: clusters in random order -> the number of each one's split. Where clusters are images of one class and their
    copies, `deal_by_class` is exact; where they are groups of any size and several classes, `deal_greedily` is close;
    `deal_iteratively` takes images of several labels.
    """
    order = sorted(clusters, key=lambda cluster: chance(seed, paths[cluster[0]]))
    dealt = deal(order)
    splits: list[Split] = ["train"] * len(paths)
    for cluster, place in zip(order, dealt, strict=True):
        for index in cluster:
            splits[index] = SPLITS[place]
    return splits


def largest_remainder(count: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `count` and lie closest to its shares; each wanted share gets one at least.

    Needs as many as there are shares above 0.
    """
    quotas = [count * share for share in fractions]
    seats = [max(int(quota), 1 if quota else 0) for quota in quotas]
    while sum(seats) < count:
        seats[max(range(len(seats)), key=lambda i: (quotas[i] - seats[i], quotas[i]))] += 1
    while sum(seats) > count:
        seats[max((i for i in range(len(seats)) if seats[i] > 1), key=lambda i: seats[i] - quotas[i])] -= 1
    return seats


def chance(seed: int, path: str) -> bytes:
    """Where a path stands in the random order of a seed, the same on every machine."""
    return hashlib.sha256(f"{seed}\0{path}".encode("utf-8", "surrogatepass")).digest()


def deal_by_class(order: Sequence[list[int]], labels: Sequence[str], fractions: Sequence[float]) -> list[int]:
    """The index of each cluster's split: in a class's random order first train, then val, last test."""
    members: dict[str, list[int]] = defaultdict(list)
    for position, cluster in enumerate(order):
        members[labels[cluster[0]]].append(position)
    dealt = [0] * len(order)
    for positions in members.values():
        seats = largest_remainder(len(positions), fractions)
        for place, position in zip(np.repeat(range(len(seats)), seats).tolist(), positions, strict=True):
            dealt[position] = place
    return dealt


def deal_greedily(order: Sequence[list[int]], labels: Sequence[str], fractions: Sequence[float]) -> list[int]:
    """Largest clusters first, each to the split where the chi-square distance to the wanted counts grows least.

    The rule of scikit-learn's StratifiedGroupKFold, with shares of unequal size.
    """
    numbers = {label: i for i, label in enumerate(sorted(set(labels)))}
    wanted = np.outer(fractions, np.bincount([numbers[label] for label in labels]))  # (splits, classes)
    filled = np.zeros_like(wanted)
    allowed = np.flatnonzero(fractions)
    dealt = [0] * len(order)
    for position in sorted(range(len(order)), key=lambda i: -len(order[i])):
        classes, counts = _count([numbers[labels[index]] for index in order[position]])
        lack = wanted[np.ix_(allowed, classes)] - filled[np.ix_(allowed, classes)]
        growth = (counts * (counts - 2 * lack) / wanted[np.ix_(allowed, classes)]).sum(axis=1)
        place = int(allowed[int(np.argmin(growth))])
        filled[place, classes] += counts
        dealt[position] = place
    return dealt


def _count(numbers: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    classes, counts = np.unique(numbers, return_counts=True)
    return classes, counts
