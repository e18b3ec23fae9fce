"""Class balance: images of each class, the imbalance ratio, and warnings about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from edgeclf.data.sources import some

MOST_IMBALANCE = 20.0
FEWEST_IMAGES = 10
FEWEST_TO_EVALUATE = 5  # of a class: where all of 5 are right, its recall lies above 0.57


def count_labels(labels: Iterable[str], classes: Iterable[str]) -> dict[str, int]:
    """Images of each class, in the order of `classes`."""
    counted = Counter(labels)
    return {name: counted[name] for name in classes}


def imbalance(counts: Mapping[str, int]) -> float:
    """Images of the largest class to one of the smallest that has any."""
    filled = [count for count in counts.values() if count]
    return max(filled, default=1) / min(filled, default=1)


def balance_warnings(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One sentence for imbalance above 20:1, one for classes of fewer than 10 images."""
    warnings = []
    if (ratio := imbalance(counts)) > MOST_IMBALANCE:
        filled = sorted((count, name) for name, count in counts.items() if count)
        smallest, largest = filled[0][1], filled[-1][1]
        warnings.append(
            f"{ratio:.0f} images of {largest!r} to one of {smallest!r} (over {MOST_IMBALANCE:.0f}:1): "
            "train with class weights or a weighted sampler, and evaluate by macro-F1"
        )
    if tiny := [f"{name!r} ({count})" for name, count in counts.items() if count < FEWEST_IMAGES]:
        warnings.append(
            f"classes of fewer than {FEWEST_IMAGES} images: {some(tiny)}; too few to estimate their accuracy"
        )
    return tuple(warnings)


def few_to_evaluate(counts: Mapping[str, int], split: str, note: str = "") -> str | None:
    """A sentence about classes with fewer than 5 images in the split to evaluate on; None: there are none."""
    few = [f"{name!r} ({number})" for name, number in counts.items() if number < FEWEST_TO_EVALUATE]
    if not few:
        return None
    fewer = f"classes with fewer than {FEWEST_TO_EVALUATE} {split} images{note}"
    return f"{fewer}: {some(few)}; figures of these classes are uncertain"
