"""Nested parts of the training images, for a learning curve."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeclf.data.assign import chance, join_clusters
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, all_labels


def parse_fractions(text: str) -> tuple[float, ...]:
    """ "0.1,0.25,1" -> (0.1, 0.25, 1.0), each once, the smallest first. Raises UsageError."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"wanted fractions such as 0.1,0.25,0.5,1, found {text!r}") from None
    if not all(0 < fraction <= 1 for fraction in found):
        raise UsageError(f"fractions of the training images must lie above 0 and be at most 1, found {text!r}")
    return tuple(found)


def nested_subsets(data: DataSplit, fractions: Sequence[float], seed: int = 0) -> tuple[DataSplit, ...]:
    """The split with so much of its training images for each fraction; validation and test stay whole.

    Each class keeps its share as closely as its images, or groups of them, allow; an image of several labels counts for
    the rarest of them, and to have none counts as one. Whatever a smaller fraction holds, a
    larger one holds too. Groups and files with the same bytes stay together. Chance follows from seed and path.

    Raises
    ------
    UsageError
        A fraction leaves a class without a training image.
    """
    images = data.of("train")
    queues = _queues(images, seed)
    subsets = []
    for fraction in fractions:
        chosen = {images[index].name for queue in queues for index in queue.first(fraction)}
        _refuse_empty(images, chosen, fraction, queues)
        kept = tuple(image for image in data.images if image.split != "train" or image.name in chosen)
        subsets.append(replace(data, images=kept))
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
        """The images of as many clusters as come closest to the fraction of all; of two equally close, the larger."""
        ends = self.ends
        wanted = fraction * ends[-1]
        taken = min(range(len(ends)), key=lambda place: (round(abs(ends[place] - wanted), 9), -place))
        return [index for cluster in self.clusters[:taken] for index in cluster]

    @property
    def least(self) -> float:
        """The smallest fraction that takes a cluster at all."""
        return self.ends[1] / 2 / self.ends[-1]


def _queues(images: Sequence[LabelledImage], seed: int) -> list[_Queue]:
    clusters = join_clusters([(image.sha256, image.group) for image in images])
    clusters.sort(key=lambda cluster: chance(seed, images[cluster[0]].name))
    queues: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    frequent = Counter(all_labels(images))
    for cluster in clusters:
        counts = Counter(_rarest(images[index], frequent) for index in cluster)
        queues[max(sorted(counts), key=lambda label: counts[label])].append(tuple(cluster))
    return [_Queue(tuple(queues[label])) for label in sorted(queues)]


def _rarest(image: LabelledImage, frequent: Counter[str]) -> str:
    """The label of an image that fewest images have; "" where it has none."""
    return min(image.labels or (), key=lambda label: (frequent[label], label), default="")


def _refuse_empty(images: Sequence[LabelledImage], chosen: set[str], fraction: float, queues: Sequence[_Queue]) -> None:
    counts = Counter(all_labels(images))
    present = set(all_labels(image for image in images if image.name in chosen))
    if missing := sorted(set(counts) - present):
        least = max(math.ceil(1000 * queue.least) / 1000 for queue in queues)
        raise UsageError(
            f"the fraction {fraction:g} leaves the class {missing[0]!r} without a training image (it has "
            f"{counts[missing[0]]}); give {max(least, fraction + 0.001):.3g} or more, or add images of it"
        )
