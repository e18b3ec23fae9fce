"""Drift: whether what a device counts still looks like validation, by size (PSI) and by chance (a permutation test)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.monitoring.permutation import (
    Counts,
    drawn_by_chance,
    holm,
    population_stability,
    residuals,
    share_as_large,
)
from edgeclf_runtime.monitoring.summary import Summary, check_labels, validation_of

Verdict = Literal["fine", "look", "drifted"]
_LOOK, _DRIFTED = (0.1, 0.01), (0.25, 0.001)  # least PSI beyond chance, and p value below which
_LOOK_TIMES, _DRIFTED_TIMES = 1.5, 2.0  # by what the share of a single class has to change
FEW = 100
_MOST_DEALT = 400_000_000  # images of a summary; numpy deals out less than 1,000,000,000 together


@dataclass(frozen=True, slots=True)
class Change:
    """How one figure changed.

    Attributes
    ----------
    name
        "answers", "confidence", …; "class NAME": the one class whose share changed most. Where an image may have
        several labels, in the place of both "no label", and "label NAME": the label whose share changed most.
    psi
        Population stability index: sum over bins of (q - p) ln(q / p), of shares with half an image added to each bin.
    psi_by_chance
        Its mean where both summaries come from the same images; few images alone make a large one.
    p_value
        How often chance alone makes one as large, of up to 19,999 permutations; corrected for all figures (Holm).
    before, now
        In validation and here: the mean of the figure, or the share of images.
    """

    name: str
    verdict: Verdict
    psi: float
    psi_by_chance: float
    p_value: float
    before: float | None
    now: float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Every change, and the gravest verdict among them. `images` were compared with `reference_images`."""

    verdict: Verdict
    images: int
    reference_images: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Figure:
    """What comparing two rows of counts gave; `p` is not yet corrected for there being several figures."""

    name: str
    psi: float
    by_chance: float
    p: float
    before: float | None
    now: float | None
    times: float | None = None  # of a single class or label: by what its share changed


def find_drift(bundle: Bundle, found: Summary, earlier: Summary | None = None, *, seed: int = 0) -> Drift:
    """Compares a summary with validation's, or with an `earlier` one of the same bundle.

    Raises DataError for a summary that is damaged, of another bundle or without images, BundleError for a bundle
    without a summary.
    """
    for each in (found, *([earlier] if earlier is not None else [])):
        if each.bundle != bundle.digest:
            raise DataError(
                f"the summary counts predictions of the bundle {each.bundle[:12] or 'that it lies in'}, not of "
                f"{bundle.path} ({bundle.digest[:12]}); compare it with the bundle that made them"
            )
        if not each.images:
            raise DataError("the summary counts no image yet")
        check_labels(bundle, each)
    return compare(earlier if earlier is not None else validation_of(bundle), found, seed=seed)


def compare(reference: Summary, found: Summary, *, seed: int = 0) -> Drift:
    """The changes between two summaries with the same bins.

    Of more than 400 million images each, counts are divided: what chance alone makes is then drawn for fewer images,
    which makes no change look surer than it is.
    """
    random = np.random.default_rng(seed)
    figures = list(_figures(reference.scaled_down(_MOST_DEALT), found.scaled_down(_MOST_DEALT), random))
    changes = tuple(_judged(figure, p) for figure, p in zip(figures, holm([each.p for each in figures]), strict=True))
    verdicts: tuple[Verdict, ...] = ("drifted", "look", "fine")
    gravest = [verdict for verdict in verdicts if any(each.verdict == verdict for each in changes)]
    return Drift(gravest[0], found.images, reference.images, changes)


def _figures(reference: Summary, found: Summary, random: np.random.Generator) -> list[_Figure]:
    figures = list(_labels(reference, found, random) or _answers(reference, found, random))
    if reference.threshold == found.threshold:
        rows = [np.array([each.images - each.unknown, each.unknown]) for each in (reference, found)]
        shares = [each.unknown / each.images if each.images else None for each in (reference, found)]
        figures.append(_by_chance("unknown", rows[0], rows[1], random, *shares))
    for name, histogram in reference.histograms.items():
        other = found.histograms.get(name)
        if other is None or not sum(other.counts):  # tensors that came normalised have no pixels
            continue
        if other.edges != histogram.edges:
            raise DataError(f"the bins of {name} differ between the summaries; they are not of the same bundle")
        counts = [np.array(each.counts) for each in (histogram, other)]
        figures.append(_by_chance(name, counts[0], counts[1], random, histogram.mean, other.mean))
    return figures


def _answers(reference: Summary, found: Summary, random: np.random.Generator) -> Iterator[_Figure]:
    """The best classes."""
    labels = sorted({*reference.answers, *found.answers})
    before, now = (np.array([each.answers.get(label, 0) for label in labels]) for each in (reference, found))
    yield _by_chance("answers", before, now, random)
    if len(labels) > 1:
        yield _single_class(labels, before, now, random)


def _labels(reference: Summary, found: Summary, random: np.random.Generator) -> tuple[_Figure, ...]:
    """All labels of images that may have several; empty where they were not counted at the same thresholds."""
    if reference.labels is None or found.labels is None or reference.threshold != found.threshold:
        return ()
    rows = [np.array([each.images - each.without_label, each.without_label]) for each in (reference, found)]
    shares = [each.without_label / each.images if each.images else None for each in (reference, found)]
    names = sorted({*reference.labels, *found.labels})
    before, now = (np.array([each.get(name, 0) for name in names]) for each in (reference.labels, found.labels))
    label = _single_label(names, before, now, (reference.images, found.images), random)
    return _by_chance("no label", rows[0], rows[1], random, *shares), label


def _by_chance(
    name: str,
    before: Counts,
    now: Counts,
    random: np.random.Generator,
    mean_before: float | None = None,
    mean_now: float | None = None,
) -> _Figure:
    """PSI of two rows of counts, and of as many images dealt out anew to both."""
    found = float(population_stability(before, now))
    drawn = drawn_by_chance(found, population_stability, before, now, random)
    return _Figure(name, found, float(drawn.mean()), share_as_large(drawn, found), mean_before, mean_now)


def _single_class(labels: list[str], before: Counts, now: Counts, random: np.random.Generator) -> _Figure:
    """The class whose share changed by most standard errors."""
    images = (int(before.sum()), int(now.sum()))
    found = residuals(before, now, images)
    place = int(np.abs(found).argmax())
    largest = float(np.abs(found[place]))
    drawn = drawn_by_chance(
        largest, lambda old, new: np.abs(residuals(old, new, images)).max(axis=-1), before, now, random
    )
    return _of_one(
        f"class {labels[place]}", int(before[place]), int(now[place]), images, share_as_large(drawn, largest)
    )


def _single_label(
    labels: list[str], before: Counts, now: Counts, images: tuple[int, int], random: np.random.Generator
) -> _Figure:
    """The label whose share of the images changed by most standard errors.

    Labels of an image go together, which summaries don't know. Each is dealt out by itself, which makes p no smaller
    than it should be (Sidak, 1967).
    """
    found = residuals(before, now, images)
    place = int(np.abs(found).argmax())
    largest = float(np.abs(found[place]))
    both = before + now

    def deal(number: int) -> Counts:
        return np.asarray(random.hypergeometric(both, sum(images) - both, images[1], (number, len(both))))

    drawn = drawn_by_chance(
        largest, lambda old, new: np.abs(residuals(old, new, images)).max(axis=-1), before, now, random, deal
    )
    return _of_one(
        f"label {labels[place]}", int(before[place]), int(now[place]), images, share_as_large(drawn, largest)
    )


def _of_one(name: str, before: int, now: int, images: tuple[int, int], p: float) -> _Figure:
    """A class or label that so many of the images have."""
    rows = [np.array([count, total - count]) for count, total in zip((before, now), images, strict=True)]
    shares = [float((row[0] + 0.5) / (row.sum() + 1)) for row in rows]
    plain = [float(row[0] / row.sum()) for row in rows]
    times = max(shares[0] / shares[1], shares[1] / shares[0])
    return _Figure(name, float(population_stability(rows[0], rows[1])), 0.0, p, plain[0], plain[1], times)


def _judged(figure: _Figure, p: float) -> Change:
    beyond = figure.psi - figure.by_chance
    verdict: Verdict = "fine"
    if p < _LOOK[1] and (beyond >= _LOOK[0] if figure.times is None else figure.times >= _LOOK_TIMES):
        verdict = "look"
    if p < _DRIFTED[1] and (beyond >= _DRIFTED[0] if figure.times is None else figure.times >= _DRIFTED_TIMES):
        verdict = "drifted"
    return Change(figure.name, verdict, figure.psi, figure.by_chance, p, figure.before, figure.now)
