"""Which of several labels an image are probably wrong, or missing: a linear probe for each label, cross-validated.

As `label_review` does it for one label an image: whether an image has a label is predicted by a probe that was trained
without it, its copies and its group, and the lower the probability of what is given, the earlier it comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.labelling.suspects import Doubt, LabelSuspect
from edgeclf.data.stratify import deal_iteratively
from edgeclf.training.review_probe import review_probe
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.progress import SILENT, Progress

_DOUBT = 0.5


def cross_validate_labels(
    features: NDArray[np.float32],
    images: Sequence[LabelledImage],
    targets: NDArray[np.float32],
    clusters: Sequence[list[int]],
    folds: int,
    seed: int,
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """(N, labels) probabilities of each label, each row from probes that saw none of the row's cluster.

    NaN where the images that were seen all have the label, or all lack it.
    """
    found = np.full(targets.shape, np.nan)
    dealt = _folds(images, clusters, min(folds, len(clusters)), seed)
    for fold in range(folds):
        seen, held_out = np.flatnonzero(dealt != fold), np.flatnonzero(dealt == fold)
        for number in range(targets.shape[1]) if len(held_out) else ():
            there = targets[seen, number] > 0
            if there.any() and not there.all():
                probe = review_probe()
                probe.fit(features[seen], there)
                found[held_out, number] = probe.predict_proba(features[held_out])[:, 1]
        progress.advance()
    return found


def _folds(images: Sequence[LabelledImage], clusters: Sequence[list[int]], folds: int, seed: int) -> NDArray[np.intp]:
    """(N,) the fold of each image, by iterative stratification; all of a cluster are in one."""
    order = [clusters[place] for place in np.random.default_rng(seed).permutation(len(clusters)).tolist()]
    dealt = np.zeros(len(images), dtype=np.intp)
    for members, fold in zip(
        order, deal_iteratively(order, [image.labels or () for image in images], [1 / folds] * folds), strict=True
    ):
        dealt[members] = fold
    return dealt


def doubted_images(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.float32],
    images: Sequence[LabelledImage],
    classes: Sequence[str],
) -> tuple[LabelSuspect, ...]:
    """The images with a label that is more probably missing, or more probably not there, than what is given.

    `probabilities` and `targets` are (N, labels). The image with the least probable given state comes first.
    """
    given = np.where(targets > 0, probabilities, 1 - probabilities)
    given = np.where(np.isfinite(given), given, 1.0)
    order = [place for place in np.argsort(given.min(axis=1), kind="stable").tolist() if given[place].min() < _DOUBT]
    return tuple(_suspect(images[place], given[place], classes) for place in order)


def _suspect(image: LabelledImage, given: NDArray[np.float64], classes: Sequence[str]) -> LabelSuspect:
    """`given` (labels,): the probability that the image has, or lacks, each label, as is given."""
    shown = set(image.labels or ())
    doubts = tuple(
        Doubt(classes[number], "superfluous" if classes[number] in shown else "missing", float(given[number]))
        for number in np.argsort(given, kind="stable").tolist()
        if given[number] < _DOUBT
    )
    likely = shown ^ {each.label for each in doubts}
    least = float(given.min())
    return LabelSuspect(image, "|".join(sorted(likely)), least, 1 - least, doubts)
