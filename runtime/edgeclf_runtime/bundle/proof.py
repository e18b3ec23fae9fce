"""How a bundle's outputs compare with its reference's on one machine: statistics, tolerances, verdict. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.average_precision import mean_average_precision
from edgeclf_runtime.metrics.logits import binary_kl_divergences, kl_divergences, log_softmax
from edgeclf_runtime.metrics.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The largest deviations that still count as the same model.

    Attributes
    ----------
    relative
        max |logit difference| over the reference's logit range on that image, or the median image's where that is
        wider (dimensionless): two classes in a near tie have hardly a range of their own. Where an image may have
        several labels, 0 belongs to the range, the logit of one half.
    cosine
        Smallest cosine between the two logit vectors of an image.
    kl
        Largest Kullback-Leibler divergence of the softmax, or of any of several labels, in nats.
    """

    relative: float
    cosine: float
    kl: float


# Seen on trained and random edge backbones: fp32 1e-5, stored fp16 3e-3, computed bf16 2e-2 of the logit range. int8
# has an accuracy gate on labelled images; its bundles carry tolerances that were measured, these are for what has none.
TOLERANCES = {
    "fp32": Tolerances(relative=1e-4, cosine=0.99999, kl=1e-4),
    "fp16": Tolerances(relative=0.02, cosine=0.999, kl=0.01),
    "bf16": Tolerances(relative=0.06, cosine=0.995, kl=0.05),
    "int8": Tolerances(relative=0.4, cosine=0.9, kl=1.0),
}
# What was measured of a model that kept its accuracy never came near this (seen: 0.53, 0.88 and 1.2).
MOST_MEASURED = Tolerances(relative=1.0, cosine=0.5, kl=3.0)
# Seen on EfficientNet-Lite0 with JPEGs of 1920x1280: pixels up to 4 levels off (0.3 on average), logits 1.8e-2.
FAST_PIXELS = TOLERANCES["bf16"]
ENOUGH_IMAGES = 8


def coarser(*tolerances: Tolerances) -> Tolerances:
    """What tolerates all of them: what is stored in one precision and computed in another has the faults of both."""
    return Tolerances(
        relative=max(each.relative for each in tolerances),
        cosine=min(each.cosine for each in tolerances),
        kl=max(each.kl for each in tolerances),
    )


def stricter(one: Tolerances, other: Tolerances) -> Tolerances:
    """What both tolerate."""
    return Tolerances(min(one.relative, other.relative), max(one.cosine, other.cosine), min(one.kl, other.kl))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against reference over `images` images. Agreement: share of equal top-1 predictions, 0..1.

    A near tie is an image whose two best reference logits lie closer than twice the tolerance: there the tolerated
    deviation alone can swap them. `flips` counts the images outside near ties whose top-1 prediction changed.

    Of embeddings, which have no probabilities, both divergences are 0, and the top-1 prediction is the item whose
    reference embedding lies nearest: right where that is the item itself, a near tie where another's is as close as
    tolerated.

    Where an image may have several labels, each label of each image is a prediction of its own, at the label's
    threshold: `decisions` counts them (None: one an image), and agreement, near ties and flips are of them. A near tie
    lies closer to the threshold than the tolerance. `mean_average_precision` is the candidate's where what the
    reference predicts is taken as the truth; None where it predicts no label.
    """

    images: int
    max_relative: float
    min_cosine: float
    mean_kl: float
    max_kl: float
    agreement: float
    near_ties: int
    flips: int
    non_finite: int
    decisions: int | None = field(default=None, metadata=LATER)
    mean_average_precision: float | None = field(default=None, metadata=LATER)

    @property
    def predictions(self) -> int:
        """How many there were: one an image, or one for each label of each image."""
        return self.images if self.decisions is None else self.decisions

    @property
    def in_words(self) -> str:
        """ "6 of 6; 3 of 9 set aside as near ties": a share alone hides of how many predictions it is."""
        decided = self.predictions - self.near_ties
        aside = f"; {self.near_ties} of {self.predictions} set aside as near ties" if self.near_ties else ""
        return f"{max(0, decided - self.flips)} of {decided}{aside}"


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """What the bundle computes here against what it computed where it was made, on its golden items.

    Attributes
    ----------
    comparison, tolerances
        Its outputs here against its own outputs then.
    differs
        In words, what makes this machine's rounding another than that one's; empty: nothing, so the limits are tight.
    distance, distance_at_export
        Root mean square over the items of the largest deviation from the reference, as a share of its range.
    kl, kl_at_export
        Mean Kullback-Leibler divergence from the reference, nats; 0 for embeddings.
    """

    comparison: Comparison
    tolerances: Tolerances
    differs: tuple[str, ...]
    distance: float
    distance_at_export: float
    kl: float
    kl_at_export: float


@dataclass(frozen=True, slots=True)
class Proof:
    """One machine's verdict on a bundle, and the tolerances that it was evaluated by.

    Attributes
    ----------
    comparison, tolerances
        Its outputs against its reference's.
    decoding_faults
        Golden images, and what probes show, whose pixels came out differently.
    own
        Its outputs against those that it gave where it was made; None: it kept none.
    notes
        What is unusual, and did not decide the verdict.
    subject
        Of a proof inside a bundle: what it was made of (`Manifest.subject`).
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    comparison: Comparison
    tolerances: Tolerances
    images_source: str
    images_sha256: str
    decoding_faults: tuple[str, ...]
    max_pixel_levels: int
    compute_precision: str
    machine: dict[str, str]
    created_utc: str
    own: OwnCheck | None = None
    notes: tuple[str, ...] = ()
    subject: str | None = None


def compare(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    tolerances: Tolerances,
    label_logits: NDArray[np.float64] | None = None,
) -> Comparison:
    """(N, classes) logits of the reference and of the candidate on the same images -> their deviations.

    `label_logits`: (classes,) from which on each of several labels is predicted; None: one is, the highest.
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"outputs of different shapes: {reference.shape} and {candidate.shape}")
    decisions = None if label_logits is None else reference.size
    if not len(reference):
        return Comparison(0, 0.0, 1.0, 0.0, 0.0, 1.0, 0, 0, 0, decisions)
    finite = np.isfinite(candidate).all(axis=1) & np.isfinite(reference).all(axis=1)
    lost = int((~finite).sum()) * (1 if label_logits is None else reference.shape[1])
    if not finite.any():
        return Comparison(len(reference), 1.0, 0.0, 0.0, 0.0, 0.0, 0, lost, len(reference), decisions)
    wanted, found = reference[finite].astype(np.float64), candidate[finite].astype(np.float64)
    span = spans(wanted, from_zero=label_logits is not None)
    relative = np.abs(wanted - found).max(axis=1) / span
    norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    cosine = np.where(norms > 0, (wanted * found).sum(axis=1) / np.where(norms > 0, norms, 1.0), 1.0)
    precision = None
    if label_logits is None:
        kl = kl_divergences(log_softmax(wanted), log_softmax(found))
        same = wanted.argmax(axis=1) == found.argmax(axis=1)
        best = np.sort(wanted, axis=1)[:, -2:]
        near_tie = (best[:, -1] - best[:, 0]) < 2 * tolerances.relative * span
    else:
        kl = binary_kl_divergences(wanted, found).max(axis=1)
        same = (wanted >= label_logits) == (found >= label_logits)
        near_tie = np.abs(wanted - label_logits) < tolerances.relative * span[:, np.newaxis]
        precision = mean_average_precision(found, wanted >= label_logits)
    return Comparison(
        images=len(reference),
        max_relative=float(relative.max()),
        min_cosine=float(cosine.min()),
        mean_kl=float(kl.mean()),
        max_kl=float(kl.max()),
        agreement=float(same.sum() / (decisions or len(reference))),
        near_ties=int(near_tie.sum()),
        flips=int((~same & ~near_tie).sum()) + lost,
        non_finite=int((~finite).sum()),
        decisions=decisions,
        mean_average_precision=precision,
    )


def spans(logits: NDArray[np.float64], *, from_zero: bool = False) -> NDArray[np.float64]:
    """(N,) each image's range of logits, 0 included or not, or the median image's where that is wider."""
    ranges = np.ptp(logits, axis=1)
    if from_zero:
        ranges = np.maximum(logits.max(axis=1), 0.0) - np.minimum(logits.min(axis=1), 0.0)
    return np.asarray(np.maximum(ranges, max(float(np.median(ranges)), np.finfo(np.float32).tiny)))


def compare_embeddings(
    reference: NDArray[np.float32], candidate: NDArray[np.float32], tolerances: Tolerances
) -> Comparison:
    """(N, width) embeddings of the reference and of the candidate of the same items -> their deviations."""
    if reference.shape != candidate.shape:
        raise ValueError(f"embeddings of different shapes: {reference.shape} and {candidate.shape}")
    finite = np.isfinite(candidate).all(axis=1) & np.isfinite(reference).all(axis=1)
    if not finite.any():
        return compare(reference, candidate, tolerances)
    wanted, found = reference[finite].astype(np.float64), candidate[finite].astype(np.float64)
    span = np.maximum(np.ptp(wanted, axis=1), np.finfo(np.float32).tiny)
    similarity = _of_length_1(found) @ _of_length_1(wanted).T
    among_wanted = _of_length_1(wanted) @ _of_length_1(wanted).T
    np.fill_diagonal(among_wanted, -np.inf)
    own = similarity.argmax(axis=1) == np.arange(len(wanted))
    near_tie = among_wanted.max(axis=1) > tolerances.cosine
    return Comparison(
        images=len(reference),
        max_relative=float((np.abs(wanted - found).max(axis=1) / span).max()),
        min_cosine=float(similarity.diagonal().min()),
        mean_kl=0.0,
        max_kl=0.0,
        agreement=float(own.sum() / len(reference)),
        near_ties=int(near_tie.sum()),
        flips=int((~own & ~near_tie).sum() + (~finite).sum()),
        non_finite=int((~finite).sum()),
    )


def _of_length_1(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def verdict_of(
    comparison: Comparison, tolerances: Tolerances, *, items: str = "images", outputs: str = "logits"
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and its reasons: what exceeded which tolerance, or how many images are missing."""
    c, reasons = comparison, deviations(comparison, tolerances, items, outputs)
    if c.flips and c.decisions is None:
        reasons.append(f"{c.flips} of {c.images} {items} outside near ties changed their top-1 prediction")
    elif c.flips:
        reasons.append(f"{c.flips} of {c.decisions} predictions outside near ties, label by label, are others")
    if reasons:
        return "fail", tuple(reasons)
    if c.images < ENOUGH_IMAGES:
        missing = ENOUGH_IMAGES - c.images
        return "inconclusive", (f"{c.images} {items} are too few for a verdict; {missing} more are needed",)
    if c.near_ties == c.decisions:
        return "inconclusive", (f"every label is near its threshold, so flips show nothing; add other {items}",)
    if c.decisions is None and c.near_ties == c.images:
        one = items.removesuffix("s")
        return "inconclusive", (f"every {one} is a near tie, so top-1 agreement shows nothing; add other {items}",)
    return "pass", ()


def deviations(c: Comparison, tolerances: Tolerances, items: str, outputs: str) -> list[str]:
    """In words, each figure of the comparison that is beyond its tolerance."""
    reasons = []
    if c.non_finite:
        reasons.append(f"{c.non_finite} of {c.images} {items} gave NaN or infinite outputs")
    if not c.max_relative <= tolerances.relative:
        reasons.append(f"{outputs} differ by {c.max_relative:.2g} of their range, tolerated {tolerances.relative:g}")
    if not c.min_cosine >= tolerances.cosine:
        reasons.append(f"cosine of the {outputs} falls to {c.min_cosine:.6f}, tolerated {tolerances.cosine:g}")
    if not c.max_kl <= tolerances.kl:
        reasons.append(f"KL divergence rises to {c.max_kl:.2g}, tolerated {tolerances.kl:g}")
    return reasons
