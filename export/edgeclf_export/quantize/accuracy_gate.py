"""The accuracy gate of INT8: top-1 or mAP, and scores, against the reference's, on images that did not calibrate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize.evaluation_set import EvaluationSet, Figures
from edgeclf_export.quantize.label_figures import map_figures
from edgeclf_runtime.bundle.parity import bounds_of_change
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation
from edgeclf_runtime.metrics.intervals import Resampling, number_groups
from edgeclf_runtime.metrics.logits import kl_divergences, log_softmax
from edgeclf_runtime.metrics.metrics import expected_calibration_error, to_scores, weighted_calibration_error
from edgeclf_runtime.metrics.paired import change_bounds, change_verdict, images_to_settle
from edgeclf_runtime.metrics.temperature import fit_temperature
from edgeclf_runtime.metrics.verdict import Verdict

# Measured on trained networks that kept their top-1: mean KL 1e-4 to 0.02, ECE within 0.01. A clipped range gave 0.3.
MOST_KL, MOST_P99_KL, MOST_ECE_RISE = 0.05, 1.0, 0.03


def evaluate_step(
    evaluation_set: EvaluationSet, logits: NDArray[np.float32], gate: AccuracyGate, temperature: float | None = None
) -> GateEvaluation:
    """The evaluation of a model's (N, classes) logits against the reference's.

    `temperature`: the model's, fitted on other images; None: it is fitted on these.
    """
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        logits = np.where(np.isfinite(logits), logits, np.float32(0))
    fit = None
    if temperature is None and evaluation_set.labels is not None:
        fit = fit_temperature(logits, evaluation_set.labels)
    if temperature is None:
        temperature = evaluation_set.temperature if fit is None else fit.temperature
    figures_of = top1_figures if evaluation_set.label_logits is None else map_figures
    figures, images = figures_of(evaluation_set, logits, temperature), len(logits)
    margin = gate.margin_points(figures.reference)
    faults = [
        *_score_faults(broken, figures.kl),
        *_calibration_faults(figures.ece_reference, figures.ece, figures.lowest_rise),
    ]
    few = too_few_to_pass(images, gate, figures.reference)
    verdict, reasons = _verdict(figures, margin, faults, images, few=few, labelled=evaluation_set.labelled)
    return GateEvaluation(
        images=images,
        source=evaluation_set.source,
        labelled=evaluation_set.labelled,
        value_reference=figures.reference,
        value=figures.model,
        right_to_wrong=figures.lost,
        wrong_to_right=figures.won,
        change_points=figures.change_points,
        bound_points=figures.bounds_points[0],
        margin_points=margin,
        mean_kl=float(figures.kl.mean()),
        p99_kl=float(np.percentile(figures.kl, 99)),
        ece_reference=figures.ece_reference,
        ece=figures.ece,
        temperature=temperature,
        temperature_fit=fit,
        verdict=verdict,
        reasons=reasons,
        images_needed=figures.images_needed(margin) if verdict == "inconclusive" else None,
        metric=figures.metric,
    )


def top1_figures(evaluation_set: EvaluationSet, logits: NDArray[np.float32], temperature: float) -> Figures:
    """The top-1 of a model's (N, classes) logits; without labels its agreement with the reference."""
    right = evaluation_set.right
    was, is_now = evaluation_set.reference.argmax(axis=1) == right, logits.argmax(axis=1) == right
    lost, won = int((was & ~is_now).sum()), int((~was & is_now).sum())
    wanted, found = evaluation_set.reference / evaluation_set.temperature, logits / temperature
    resampling = Resampling(len(right), number_groups(evaluation_set.groups))
    lower, upper, spread = bounds_of_change(is_now, was, resampling)
    ece_reference, ece, lowest_rise = _calibration(evaluation_set, logits, temperature, resampling)
    return Figures(
        metric="top-1",
        reference=float(was.mean()),
        model=float(is_now.mean()),
        lost=lost,
        won=won,
        change_points=100 * (won - lost) / len(right),
        bounds_points=(100 * lower, 100 * upper),
        kl=kl_divergences(log_softmax(wanted.astype(np.float64)), log_softmax(found.astype(np.float64))),
        ece_reference=ece_reference,
        ece=ece,
        lowest_rise=lowest_rise,
        images_needed=lambda margin: images_to_settle(lost, won, len(right), margin / 100, spread=spread),
    )


def too_few_to_pass(images: int, gate: AccuracyGate, reference_top1: float) -> bool:
    """Whether so few images can't pass the gate, even if no prediction changes."""
    return change_bounds(0, 0, images)[0] <= -gate.margin_points(reference_top1) / 100


def provable_points(images: int) -> float:
    """The smallest drop in points that so many images can rule out, where no prediction changes."""
    return -100 * change_bounds(0, 0, images)[0]


def images_that_prove(gate: AccuracyGate, reference_top1: float = 1.0) -> int | None:
    """How many images pass the gate where no prediction changes; None: more than ten million."""
    return images_to_settle(0, 0, 1, gate.margin_points(reference_top1) / 100)


def _calibration(
    evaluation_set: EvaluationSet, logits: NDArray[np.float32], temperature: float, resampling: Resampling
) -> tuple[float | None, float | None, float | None]:
    """Expected calibration errors of the reference and the model, and the lower bound of its rise."""
    if evaluation_set.labels is None:
        return None, None, None
    labels = evaluation_set.labels
    was, is_now = (
        to_scores(evaluation_set.reference, "softmax", evaluation_set.temperature),
        to_scores(logits, "softmax", temperature),
    )

    def rise(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        of_both = (weighted_calibration_error(weights, scores, labels) for scores in (is_now, was))
        return next(of_both) - next(of_both)

    least = float(np.percentile(resampling.draws(rise), 5))
    return expected_calibration_error(was, labels), expected_calibration_error(is_now, labels), least


def _score_faults(broken: int, kl: NDArray[np.float64]) -> list[str]:
    found = []
    if broken:
        found.append(f"{broken} of {len(kl)} images gave NaN or infinite outputs")
    if kl.mean() > MOST_KL:
        found.append(f"confidences moved: mean KL divergence {kl.mean():.2g} nats, tolerated {MOST_KL:g}")
    if np.percentile(kl, 99) > MOST_P99_KL:
        found.append(f"confidences moved: 1 % of images by {np.percentile(kl, 99):.2g} nats, tolerated {MOST_P99_KL:g}")
    return found


def _calibration_faults(before: float | None, after: float | None, lowest_rise: float | None) -> list[str]:
    """A rise counts only where 95 % of paired draws show it too: with few images the error itself is noise."""
    if before is None or after is None or lowest_rise is None:
        return []
    if after - before <= MOST_ECE_RISE or lowest_rise <= 0:
        return []
    return [f"ECE rose from {before:.3f} to {after:.3f} although the temperature was fitted anew"]


def _verdict(
    figures: Figures, margin: float, faults: list[str], images: int, *, few: bool, labelled: bool
) -> tuple[Verdict, tuple[str, ...]]:
    """Stricter than `change_verdict`: a step whose estimate itself is beyond the margin fails and is not inconclusive.

    Not where the images are too `few` for any model to pass: one changed prediction may be beyond the margin then,
    and shows nothing.
    """
    change, (lower, upper) = figures.change_points, figures.bounds_points
    what: str = figures.metric
    worth = f"on {images} images"
    if figures.metric == "top-1":
        worth += f", of which one is worth {100 / images:.2g} points"
    if not labelled:
        what = "agreement with the reference" if what == "top-1" else "mAP by the reference's predictions"
    if -change > margin and not (few and upper >= -margin):
        faults = [f"{what} fell by {-change:.2f} points, tolerated {margin:.2f} ({worth})", *faults]
    if faults:
        return "fail", tuple(faults)
    if change_verdict(lower, upper, margin) == "pass":
        return "pass", ()
    if -change > margin:
        return "inconclusive", (
            f"{what} changed by {change:+.2f} points, more than the {margin:.2f} tolerated, but {upper:+.2f} can't be "
            f"ruled out either {worth}",
        )
    return "inconclusive", (f"{what} changed by {change:+.2f} points, but {lower:+.2f} can't be ruled out {worth}",)
