"""Which labels go together: how many an image has, which pairs it has, and which labels are rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeclf.data.balance import FEWEST_IMAGES
from edgeclf.data.sources import some
from edgeclf.wording import count
from edgeclf_runtime.images.labelled import LabelledImage, label_targets


@dataclass(frozen=True, slots=True)
class LabelPair:
    """Two labels and the images that have both.

    Attributes
    ----------
    images
        That have both.
    of_first, of_second
        The share of the images of either label that have the other, too.
    lift
        How many times as often as two independent labels would meet: 1 for those.
    """

    first: str
    second: str
    images: int
    of_first: float
    of_second: float
    lift: float


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """Labels of images that may have several.

    Attributes
    ----------
    mean_labels, most_labels
        Labels an image.
    without_label
        Images without any: what nothing is shown on.
    combinations
        How many different sets of labels there are.
    pairs
        Pairs of labels that meet, the most frequent first.
    apart
        How many pairs of labels never meet.
    rare
        Labels of fewer than 10 images.
    """

    images: int
    mean_labels: float
    most_labels: int
    without_label: int
    combinations: int
    pairs: tuple[LabelPair, ...]
    apart: int
    rare: tuple[str, ...]

    @property
    def inseparable(self) -> tuple[LabelPair, ...]:
        """Pairs of which one label never comes without the other: nothing tells a network what it looks like."""
        return tuple(pair for pair in self.pairs if max(pair.of_first, pair.of_second) == 1.0)

    def __str__(self) -> str:
        without = "none without any" if not self.without_label else f"{self.without_label:,} without any"
        return (
            f"{self.mean_labels:.2f} labels an image, {self.most_labels} at most, {without}; "
            f"{count(self.combinations, 'combination')}"
        )


def label_statistics(images: Sequence[LabelledImage], classes: Sequence[str]) -> LabelStatistics:
    """Of one image at least."""
    targets = label_targets(images, classes).astype(np.int64)
    together = targets.T @ targets  # (classes, classes): images that have both
    counts, per_image = together.diagonal(), targets.sum(axis=1)
    pairs = [
        LabelPair(
            first=classes[row],
            second=classes[column],
            images=(both := int(together[row, column])),
            of_first=both / int(counts[row]),
            of_second=both / int(counts[column]),
            lift=both * len(images) / int(counts[row] * counts[column]),
        )
        for row, column in zip(*np.nonzero(np.triu(together, 1)), strict=True)
    ]
    return LabelStatistics(
        images=len(images),
        mean_labels=float(per_image.mean()),
        most_labels=int(per_image.max()),
        without_label=int((per_image == 0).sum()),
        combinations=len({image.labels for image in images}),
        pairs=tuple(sorted(pairs, key=lambda pair: (-pair.images, pair.first, pair.second))),
        apart=len(classes) * (len(classes) - 1) // 2 - len(pairs),
        rare=tuple(label for label, images in zip(classes, counts, strict=True) if images < FEWEST_IMAGES),
    )


def inseparable_labels(found: LabelStatistics) -> str | None:
    """A sentence about labels that never come alone; None: each does."""
    if not found.inseparable:
        return None
    named = []
    for pair in found.inseparable:
        bound, free = (pair.first, pair.second) if pair.of_first == 1.0 else (pair.second, pair.first)
        both_bound = pair.of_first == pair.of_second
        named.append(f"{bound!r} {'and' if both_bound else 'only with'} {free!r}")
    return f"labels that never come alone: {some(named)}; nothing shows a network what tells them apart"
