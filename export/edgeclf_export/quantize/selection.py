"""Which step of the ladder becomes the model, which go along as candidates, and the figure on test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeclf_export.quantize.accuracy_gate import evaluate_step, too_few_to_pass
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration_data import CalibrationData, Int8Options
from edgeclf_export.quantize.few_images import why_nothing_can_be_learned
from edgeclf_export.quantize.ladder import (
    REST_IN_BF16,
    best,
    float_step,
    lower_precision,
    responsible_layers,
    rest_in_bf16,
    search_int8,
)
from edgeclf_export.quantize.learning.learned_network import Learning
from edgeclf_export.quantize.trial import Trial, Trials
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Calibration
from edgeclf_runtime.bundle.quantization_report import GateEvaluation, Ladder, Sensitivity, Step
from edgeclf_runtime.deploy.candidates import Race, TimeCalls, race, time_calls
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.machine.facts import machine_facts
from edgeclf_runtime.progress import Progress

TIMED_WITH = SessionOptions(threads=1)  # sessions side by side: pools of threads that wait for work take it from others


@dataclass(frozen=True)
class Chosen:
    """The trial that becomes the bundle's model, those that go along as candidates, and the record of the ladder."""

    trial: Trial
    candidates: tuple[Trial, ...]
    ladder: Ladder
    calibration: Calibration


class LadderFailed(GateError):
    """No step of the ladder passes the accuracy gate, or the chosen one fails it on test images.

    `nearest`: what a bundle of the step that came nearest would hold, to inspect; None: the engine refused all.
    """

    def __init__(self, message: str, ladder: Ladder, nearest: Chosen | None) -> None:
        super().__init__(message)
        self.ladder, self.nearest = ladder, nearest


def choose(
    trials: Trials,
    network: CalibratedNetwork,
    calibration_data: CalibrationData,
    options: Int8Options,
    *,
    auto: bool,
    progress: Progress,
    time: TimeCalls = time_calls,
    learning: Learning | None = None,
) -> Chosen:
    """Searches the ladder and decides. Without `auto` the first int8 step that passes is kept, whatever its speed.

    `learning`: the step after all others of int8. Raises LadderFailed where nothing passes; the message names the
    layers responsible.
    """
    int8 = search_int8(trials, network, progress, learning)
    responsible = responsible_layers(network, int8)
    kept = best(int8)
    timed: Race | None = None
    if auto:
        lower = lower_precision(trials, progress)
        others = [*rest_in_bf16(trials, kept, lower, progress), *lower, float_step(trials, "fp32", progress)]
        racing = _racing([*([kept] if kept else []), *others], fp32=others[-1])
        tried = [*int8, *others]
        chosen, timed, why = _fastest(trials, racing, progress, time)
        candidates = tuple(trial for trial in racing if trial is not chosen)
    elif kept is not None:
        tried, chosen, candidates, why = int8, kept, (), _why_kept(trials, kept, int8)
    else:
        others = lower_precision(trials, progress) if options.fallback else []
        fallback = best(others)
        if fallback is None:
            raise _refused(trials, network, [*int8, *others], responsible, calibration_data)
        tried, chosen, candidates = [*int8, *others], fallback, ()
        why = "no int8 step passes the accuracy gate, and --fallback asks for 16 bits then"
    final = _final(trials, chosen, calibration_data, progress)
    ladder = Ladder(
        floor=options.gate,
        rungs=tuple(_with_outcome(trial, chosen, candidates, timed) for trial in tried),
        chosen=chosen.step.name,
        why=why,
        blame=responsible,
        warnings=calibration_data.calibration.warnings,
        final=final,
        machine=machine_facts(),
        noise=timed.noise if timed else None,
    )
    if final is not None and final.verdict == "fail" and chosen.step.precision != "fp32":
        raise _broken_on_test(trials, Chosen(chosen, (), ladder, _calibration(network, chosen)), final)
    return Chosen(chosen, candidates, ladder, _calibration(network, chosen))


def _why_kept(trials: Trials, kept: Trial, int8: Sequence[Trial]) -> str:
    """Why a step was kept of those of int8."""
    evaluation = kept.step.judged
    if kept.step.holds or evaluation is None:
        return "the first step that passes the accuracy gate"
    images = f"{evaluation.images} evaluation images"
    if too_few_to_pass(evaluation.images, trials.gate, evaluation.value_reference):
        return f"nearest to the accuracy gate; {images} are too few for any step to pass it"
    of_steps = f"none of {len(int8)} int8 steps passes it" if len(int8) > 1 else "it does not pass it"
    learned = "; learned weights are taken only where they pass it" if any(each.has_to_pass for each in int8) else ""
    return f"nearest to the accuracy gate; {of_steps}, and {images} leave open whether this one is within it{learned}"


def _racing(tried: Sequence[Trial], fp32: Trial) -> list[Trial]:
    """Which may win by speed: those that pass the gate; where images are too few for that, those that do not fail."""
    return [trial for trial in tried if (trial.step.holds if fp32.step.holds else trial.is_usable)]


def _fastest(
    trials: Trials, racing: Sequence[Trial], progress: Progress, time: TimeCalls
) -> tuple[Trial, Race | None, str]:
    """The fastest, timed in turns. A portable bundle is timed where it is built, so here the first, int8, is taken."""
    if trials.target.on_device is not None:
        return racing[0], None, "not measured: the engine is built, and chosen again, on the device"
    progress.step(f"{trials.target.name}: timing {len(racing)} models in turns")
    timed = race({trial.step.name: Bundle.open(trial.folder) for trial in racing}, "fp32", TIMED_WITH, time)
    name = _portable(timed.fastest(), timed)
    chosen = next(trial for trial in racing if trial.step.name == name)
    if name == "fp32":
        return (
            chosen,
            timed,
            f"nothing that passes the gate is faster than fp32 by more than the A/A noise of {timed.noise:.0%}",
        )
    passes = "passes the gate" if chosen.step.holds else "does not fail"
    times = 1 / timed.speeds[name].ratio
    return chosen, timed, f"the fastest that {passes}: {times:.2f} x fp32 on this machine (A/A noise {timed.noise:.0%})"


def _portable(name: str, timed: Race) -> str:
    """The same model with its rest in fp32, which runs on any CPU, unless bf16 is faster by more than the noise."""
    plain = name.removesuffix(REST_IN_BF16)
    if plain == name or plain not in timed.speeds:
        return name
    return name if timed.speeds[name].ratio < timed.speeds[plain].ratio * (1 - timed.noise) else plain


def _with_outcome(trial: Trial, chosen: Trial, candidates: Sequence[Trial], timed: Race | None) -> Step:
    speed = timed.speeds.get(trial.step.name) if timed else None
    step = trial.step
    if speed is not None:
        step = replace(step, median_ms=speed.median_ms, ratio=speed.ratio)
    if trial is chosen:
        return replace(step, became="model")
    if any(trial is other for other in candidates):
        return replace(step, became="candidate")
    return replace(step, became="passed over" if trial.is_usable else "failed")


def _final(
    trials: Trials, chosen: Trial, calibration_data: CalibrationData, progress: Progress
) -> GateEvaluation | None:
    """The figure on test images, which are used once; the use is counted."""
    if calibration_data.open_test is None or chosen.manifest is None:
        return None
    evaluation_set, pixels = calibration_data.open_test(hash_file(chosen.folder / MANIFEST))
    progress.step(f"{trials.target.name}: the final figure on {len(pixels)} test images")
    logits = trials.logits(chosen.folder, chosen.manifest, pixels)
    return evaluate_step(evaluation_set, logits, trials.gate, chosen.manifest.temperature)


def _broken_on_test(trials: Trials, chosen: Chosen, final: GateEvaluation) -> LadderFailed:
    name, before = chosen.trial.step.name, chosen.trial.step.judged
    settled = before is not None and before.verdict == "pass"
    found = "passed the accuracy gate" if settled else "neither passed nor failed the accuracy gate"
    ladder = without_chosen(chosen.ladder, f"{name} {found} on validation images, and fails it on test images")
    return LadderFailed(
        f"{trials.target.name} {name} {found} on validation images, but on test images "
        f"{'; '.join(final.reasons)} ({final.source}); give more validation images, or a larger --max-drop",
        ladder,
        replace(chosen, ladder=ladder),
    )


def without_chosen(ladder: Ladder, why: str) -> Ladder:
    """The ladder whose chosen step failed afterwards, and why."""
    rungs = tuple(replace(step, became="failed") if step.name == ladder.chosen else step for step in ladder.rungs)
    return replace(ladder, rungs=rungs, chosen="", why=why)


def _refused(
    trials: Trials,
    network: CalibratedNetwork,
    tried: Sequence[Trial],
    responsible: Sequence[Sensitivity],
    calibration_data: CalibrationData,
) -> LadderFailed:
    nearest = max(tried, key=lambda trial: trial.step.judged.bound_points if trial.step.judged else float("-inf"))
    ladder = Ladder(
        floor=trials.gate,
        rungs=tuple(replace(trial.step, became="failed") for trial in tried),
        chosen="",
        why=f"none passes the accuracy gate; nearest is {nearest.step.name}",
        blame=tuple(responsible),
        warnings=calibration_data.calibration.warnings,
        final=None,
        machine=machine_facts(),
    )
    kept = None if nearest.manifest is None else Chosen(nearest, (), ladder, _calibration(network, nearest))
    return LadderFailed(_refusal(trials, tried, nearest, responsible, calibration_data), ladder, kept)


def _refusal(
    trials: Trials,
    tried: Sequence[Trial],
    nearest: Trial,
    responsible: Sequence[Sensitivity],
    calibration_data: CalibrationData,
) -> str:
    if all(trial.manifest is None for trial in tried):
        return f"{trials.target.name}: none of {len(tried)} steps of the ladder can be made: {nearest.step.problem}"
    reasons = nearest.step.problem or "; ".join(nearest.step.judged.reasons if nearest.step.judged else ())
    layers = ", ".join(sensitivity.node for sensitivity in responsible) or "none could be measured"
    # ranges of a few images are wrong for every layer: then no layer is responsible
    cause = calibration_data.calibration.too_few or f"The layers responsible: {layers}"
    learned = any(trial.has_to_pass for trial in tried)
    in_vain = learned or why_nothing_can_be_learned(len(calibration_data.pixels), trials.gate) is not None
    advice = (
        "--fallback for 16 bits" if in_vain else "--learn-int8 MINUTES for weights that learn, --fallback for 16 bits"
    )
    return (
        f"{trials.target.name}: none of {len(tried)} steps of the ladder passes the accuracy gate of {trials.gate}; "
        f"nearest is {nearest.step.name}: {reasons}. {cause[0].upper()}{cause[1:]}. Give {advice}, or a larger "
        "--max-drop"
    )


def _calibration(network: CalibratedNetwork, chosen: Trial) -> Calibration:
    images = network.calibration
    return Calibration(f"{chosen.step.did}; {images.source}", len(images.files), images.sha256)
