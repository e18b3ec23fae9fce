"""Parts of the training images, each within the next: how much would fewer of them have taught?"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeclf.data.assign import chance, join_clusters
from edgeclf.data.split import Item, SplitManifest
from edgeclf_runtime.errors import UsageError


def parse_fractions(text: str) -> tuple[float, ...]:
    """ "0.1,0.25,1" -> (0.1, 0.25, 1.0), each once, the smallest first. Raises UsageError."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"fractions read 0.1,0.25,0.5,1, found {text!r}") from None
    if not all(0 < fraction <= 1 for fraction in found):
        raise UsageError(f"a fraction of the training images lies above 0 and up to 1, found {text!r}")
    return tuple(found)


def nested_subsets(data: SplitManifest, fractions: Sequence[float], seed: int = 0) -> tuple[SplitManifest, ...]:
    """The split with so much of its training images for each fraction; validation and test stay whole.

    Each class keeps its share as closely as its images, or groups of them, allow. Whatever a smaller fraction holds, a
    larger one holds too. Groups and files with the same bytes stay together. Chance follows from seed and path.

    Raises
    ------
    UsageError
        A fraction leaves a class without a training image; nothing was done yet.
    """
    items = data.of("train")
    queues = _queues(items, seed)
    subsets = []
    for fraction in fractions:
        chosen = {items[index].path for queue in queues for index in queue.first(fraction)}
        _refuse_empty(items, chosen, fraction, queues)
        kept = tuple(item for item in data.items if item.split != "train" or item.path in chosen)
        subsets.append(replace(data, items=kept))
    return tuple(subsets)


@dataclass(frozen=True, slots=True)
class _Queue:
    """Clusters of images that are mostly of one class, in random order."""

    clusters: tuple[tuple[int, ...], ...]

    @property
    def ends(self) -> list[int]:
        """How many images the first 0, 1, 2, … clusters hold."""
        return [0, *np.cumsum([len(cluster) for cluster in self.clusters]).tolist()]

    def first(self, fraction: float) -> list[int]:
        """The images of as many clusters as come closest to the fraction of all; of two as close ones the more."""
        ends = self.ends
        wanted = fraction * ends[-1]
        taken = min(range(len(ends)), key=lambda place: (round(abs(ends[place] - wanted), 9), -place))
        return [index for cluster in self.clusters[:taken] for index in cluster]

    @property
    def least(self) -> float:
        """The smallest fraction that takes a cluster at all."""
        return self.ends[1] / 2 / self.ends[-1]


def _queues(items: Sequence[Item], seed: int) -> list[_Queue]:
    clusters = join_clusters([(item.sha256, item.group) for item in items])
    clusters.sort(key=lambda cluster: chance(seed, items[cluster[0]].path))
    queues: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for cluster in clusters:
        counts = Counter(items[index].label for index in cluster)
        queues[max(sorted(counts), key=lambda label: counts[label])].append(tuple(cluster))
    return [_Queue(tuple(queues[label])) for label in sorted(queues)]


def _refuse_empty(items: Sequence[Item], chosen: set[str], fraction: float, queues: Sequence[_Queue]) -> None:
    counts = Counter(item.label for item in items)
    present = {item.label for item in items if item.path in chosen}
    if missing := sorted(set(counts) - present):
        least = max(math.ceil(1000 * queue.least) / 1000 for queue in queues)
        raise UsageError(
            f"the fraction {fraction:g} leaves the class {missing[0]!r} without a training image (it has "
            f"{counts[missing[0]]}); give {max(least, fraction + 0.001):.3g} or more, or add images of it"
        )
