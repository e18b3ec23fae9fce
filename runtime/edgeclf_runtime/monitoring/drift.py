"""Drift: whether what a device counts still looks like validation, by size (PSI) and by chance (a permutation test)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.monitoring.summary import Summary, validation_of

Verdict = Literal["fine", "look", "drifted"]
Counts = NDArray[np.int64]
_LOOK, _DRIFTED = (0.1, 0.01), (0.25, 0.001)  # least PSI beyond chance, and p value below which
_LOOK_TIMES, _DRIFTED_TIMES = 1.5, 2.0  # by what the share of a single class has to change
_DRAWS, _FIRST_DRAWS, _NO_DOUBT, _AT_A_TIME = 19_999, 999, 0.05, 1 << 21
FEW = 100


@dataclass(frozen=True, slots=True)
class Change:
    """How one figure changed.

    Attributes
    ----------
    name
        "answers", "confidence", …; "class NAME": the one class whose share changed most.
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
    times: float | None = None  # of a single class: by what its share changed


def find_drift(bundle: Bundle, found: Summary, earlier: Summary | None = None, *, seed: int = 0) -> Drift:
    """Compares a summary with validation's, or with an `earlier` one of the same bundle.

    Raises DataError for a summary of another bundle or without images, BundleError for a bundle without a summary.
    """
    for each in (found, *([earlier] if earlier is not None else [])):
        if each.bundle != bundle.digest:
            raise DataError(
                f"the summary counts predictions of the bundle {each.bundle[:12] or 'that it lies in'}, not of "
                f"{bundle.path} ({bundle.digest[:12]}); compare it with the bundle that made them"
            )
        if not each.images:
            raise DataError("the summary counts no image yet")
    return compare(earlier if earlier is not None else validation_of(bundle), found, seed=seed)


def compare(reference: Summary, found: Summary, *, seed: int = 0) -> Drift:
    """The changes between two summaries with the same bins."""
    random = np.random.default_rng(seed)
    figures = list(_figures(reference, found, random))
    changes = tuple(_judged(figure, p) for figure, p in zip(figures, _holm([each.p for each in figures]), strict=True))
    verdicts: tuple[Verdict, ...] = ("drifted", "look", "fine")
    gravest = [verdict for verdict in verdicts if any(each.verdict == verdict for each in changes)]
    return Drift(gravest[0], found.images, reference.images, changes)


def _figures(reference: Summary, found: Summary, random: np.random.Generator) -> list[_Figure]:
    labels = sorted({*reference.answers, *found.answers})
    before, now = (np.array([each.answers.get(label, 0) for label in labels]) for each in (reference, found))
    figures = [_by_chance("answers", before, now, random)]
    if len(labels) > 1:
        figures.append(_single_class(labels, before, now, random))
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
    drawn = _drawn(found, population_stability, before, now, random)
    return _Figure(name, found, float(drawn.mean()), _share(drawn, found), mean_before, mean_now)


def _single_class(labels: list[str], before: Counts, now: Counts, random: np.random.Generator) -> _Figure:
    """The class whose share changed by most standard errors."""
    found = _residuals(before, now)
    place = int(np.abs(found).argmax())
    largest = float(np.abs(found[place]))
    drawn = _drawn(largest, lambda *rows: np.abs(_residuals(*rows)).max(axis=-1), before, now, random)
    rows = [np.array([counts[place], counts.sum() - counts[place]]) for counts in (before, now)]
    shares = [float((row[0] + 0.5) / (row.sum() + 1)) for row in rows]
    plain = [float(row[0] / row.sum()) for row in rows]
    times = max(shares[0] / shares[1], shares[1] / shares[0])
    psi = float(population_stability(rows[0], rows[1]))
    return _Figure(f"class {labels[place]}", psi, 0.0, _share(drawn, largest), plain[0], plain[1], times)


def population_stability(before: Counts, now: Counts) -> NDArray[np.float64]:
    """(…, bins) counts of two samples -> (…) PSI, with half an image added to each bin."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True) for counts in (before, now))
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def _residuals(before: Counts, now: Counts) -> NDArray[np.float64]:
    """(…, bins) counts -> how many standard errors each count of `now` lies from what both samples together expect."""
    both = before + now
    images, share = both.sum(axis=-1, keepdims=True), now.sum(axis=-1, keepdims=True) / both.sum(axis=-1, keepdims=True)
    variance = both * share * (1 - share) * (1 - both / images)
    return np.asarray((now - both * share) / np.sqrt(np.maximum(variance, 1e-12)))


def _drawn(
    found: float,
    statistic: Callable[[Counts, Counts], NDArray[np.float64]],
    before: Counts,
    now: Counts,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """The statistic of both samples' images, dealt out again by chance to two samples of their sizes, many times.

    Where the first thousand leave no doubt that chance alone makes one as large as `found`, they are enough.
    """
    both, images = before + now, int(now.sum())
    drawn: list[NDArray[np.float64]] = []
    done = 0
    while done < _DRAWS:
        number = min(max(1, _AT_A_TIME // len(both)), _DRAWS - done) if done else _FIRST_DRAWS
        dealt = random.multivariate_hypergeometric(both, images, number, method="marginals")
        drawn.append(statistic(both - dealt, dealt))
        done += number
        if done == _FIRST_DRAWS and _share(drawn[0], found) > _NO_DOUBT:
            break
    return np.concatenate(drawn)


def _share(drawn: NDArray[np.float64], found: float) -> float:
    return float((1 + (drawn >= found - 1e-12).sum()) / (1 + len(drawn)))


def _holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for there being several (Holm, 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = highest
    return corrected


def _judged(figure: _Figure, p: float) -> Change:
    beyond = figure.psi - figure.by_chance
    verdict: Verdict = "fine"
    if p < _LOOK[1] and (beyond >= _LOOK[0] if figure.times is None else figure.times >= _LOOK_TIMES):
        verdict = "look"
    if p < _DRIFTED[1] and (beyond >= _DRIFTED[0] if figure.times is None else figure.times >= _DRIFTED_TIMES):
        verdict = "drifted"
    return Change(figure.name, verdict, figure.psi, figure.by_chance, p, figure.before, figure.now)
