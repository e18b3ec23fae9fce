"""Iterative stratification: splits that keep the share of each label where an image has several, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from edgeclf.data.assign import largest_remainder

# Own lines: the packages for it deal out single images into equal folds, by numpy's random numbers. Here groups stay
# together, shares differ, and chance is the order of the clusters, which is the same on every machine.


_NONE = ""  # no label is called so


def deal_iteratively(
    order: Sequence[list[int]], labels: Sequence[Sequence[str]], fractions: Sequence[float]
) -> list[int]:
    """The number of each cluster's split (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011).

    The rarest label that is left comes first, as later nothing could make up for it: each cluster with it goes to the
    split that lacks the label most, of several the one that lacks most images. Having none counts as a label. One on as
    many images as there are splits, or more, is wanted once at least in each of them.

    Parameters
    ----------
    order
        Clusters of images, by number, in random order: they stay together.
    labels
        Of each image.
    fractions
        The shares of the splits; one of 0 gets nothing.
    """
    contents = [Counter(label for index in cluster for label in labels[index] or (_NONE,)) for cluster in order]
    allowed = [place for place, share in enumerate(fractions) if share]
    lack = {label: _wanted(count, fractions) for label, count in _totals(contents).items()}
    room = _wanted(sum(map(len, order)), fractions)
    waiting = dict.fromkeys(sorted(range(len(order)), key=lambda place: -len(order[place])))  # an ordered set
    dealt = [0] * len(order)
    while waiting:
        left = _totals(contents[place] for place in waiting)
        rarest = min(left, key=lambda label: (left[label], label))
        for place in [each for each in waiting if rarest in contents[each]]:
            split = max(allowed, key=lambda each: (lack[rarest][each], room[each]))
            dealt[place] = split
            room[split] -= len(order[place])
            for label, count in contents[place].items():
                lack[label][split] -= count
            del waiting[place]
    return dealt


def _wanted(count: int, fractions: Sequence[float]) -> list[int]:
    if count >= sum(share > 0 for share in fractions):
        return largest_remainder(count, fractions)
    return [round(count * share) for share in fractions]


def _totals(contents: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in contents:
        total.update(each)
    return total
