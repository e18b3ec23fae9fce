"""Which step of a climbed ladder is kept, which go along as candidates, and the figure on test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeclf_export.quantize.accuracy_gate import evaluate_step
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration_data import CalibrationData, Int8Options
from edgeclf_export.quantize.ladder import best, blame, float_step, lower_precision, search_int8
from edgeclf_export.quantize.trial import Trial, Trials
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Calibration
from edgeclf_runtime.bundle.quantization_report import Judged, Ladder, Sensitivity, Step
from edgeclf_runtime.deploy.candidates import Race, TimeCalls, race, time_calls
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.machine.facts import machine_facts
from edgeclf_runtime.progress import Progress

TIMED_WITH = SessionOptions(threads=1)  # sessions side by side: pools of threads that wait for work take it from others


@dataclass(frozen=True)
class Chosen:
    """The trial that becomes the bundle's model, those that go along as candidates, and the ladder that says why."""

    trial: Trial
    candidates: tuple[Trial, ...]
    ladder: Ladder
    calibration: Calibration


class LadderFailed(GateError):
    """No step of the ladder holds the floor, or the one that was chosen breaks it on test images.

    `nearest`: what a bundle of the step that came nearest would hold, to be looked at; None: the engine refused all.
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
) -> Chosen:
    """Climbs the ladder and decides. Without `auto` the first int8 rung that holds is kept, whatever its speed.

    Raises LadderFailed where nothing holds; the message names the layers to blame.
    """
    int8 = search_int8(trials, network, progress)
    responsible = blame(network, int8)
    kept = best(int8)
    timed: Race | None = None
    if auto:
        others = [*lower_precision(trials, progress), float_step(trials, "fp32", progress)]
        racing = _racing([*([kept] if kept else []), *others], fp32=others[-1])
        tried = [*int8, *others]
        chosen, timed, why = _fastest(trials, racing, progress, time)
        candidates = tuple(trial for trial in racing if trial is not chosen)
    elif kept is not None:
        tried, chosen, candidates = int8, kept, ()
        why = (
            "the first step that holds the floor"
            if kept.step.holds
            else "nearest to the floor; too few images are evaluated to show that any step holds it"
        )
    else:
        others = lower_precision(trials, progress) if options.fallback else []
        fallen = best(others)
        if fallen is None:
            raise _refused(trials, network, [*int8, *others], responsible, calibration_data)
        tried, chosen, candidates = [*int8, *others], fallen, ()
        why = "no int8 rung holds the floor, and --fallback asks for 16 bits then"
    final = _final(trials, chosen, calibration_data, progress)
    ladder = Ladder(
        floor=options.floor,
        rungs=tuple(_became(trial, chosen, candidates, timed) for trial in tried),
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


def _racing(tried: Sequence[Trial], fp32: Trial) -> list[Trial]:
    """Who may win by speed: what holds the floor; where images are too few for fp32 to hold it, what does not fail."""
    return [trial for trial in tried if (trial.step.holds if fp32.step.holds else trial.is_usable)]


def _fastest(
    trials: Trials, racing: Sequence[Trial], progress: Progress, time: TimeCalls
) -> tuple[Trial, Race | None, str]:
    """Measured, interleaved; a portable bundle is measured where it is built, so there int8 stands first."""
    if trials.target.on_device is not None:
        return racing[0], None, "not measured: the engine is built, and chosen again, on the device"
    progress.step(f"{trials.target.name}: timing {len(racing)} models in turns")
    timed = race({trial.step.name: Bundle.open(trial.folder) for trial in racing}, "fp32", TIMED_WITH, time)
    name = timed.fastest()
    chosen = next(trial for trial in racing if trial.step.name == name)
    if name == "fp32":
        return chosen, timed, f"nothing that holds is faster than fp32 by more than the noise of {timed.noise:.0%}"
    holds = "holds" if chosen.step.holds else "does not fail"
    times = 1 / timed.speeds[name].ratio
    return chosen, timed, f"the fastest that {holds}: {times:.2f} x fp32 on this machine (noise {timed.noise:.0%})"


def _became(trial: Trial, chosen: Trial, candidates: Sequence[Trial], timed: Race | None) -> Step:
    speed = timed.speeds.get(trial.step.name) if timed else None
    step = trial.step
    if speed is not None:
        step = replace(step, median_ms=speed.median_ms, ratio=speed.ratio)
    if trial is chosen:
        return replace(step, became="model")
    if any(trial is other for other in candidates):
        return replace(step, became="candidate")
    return replace(step, became="passed over" if trial.is_usable else "failed")


def _final(trials: Trials, chosen: Trial, calibration_data: CalibrationData, progress: Progress) -> Judged | None:
    """The figure on test images, looked at once and counted."""
    if calibration_data.open_test is None or chosen.manifest is None:
        return None
    evaluation_set, pixels = calibration_data.open_test(hash_file(chosen.folder / MANIFEST))
    progress.step(f"{trials.target.name}: the final figure on {len(pixels)} test images")
    logits = trials.answers(chosen.folder, chosen.manifest, pixels)
    return evaluate_step(evaluation_set, logits, trials.floor, chosen.manifest.temperature)


def _broken_on_test(trials: Trials, chosen: Chosen, final: Judged) -> LadderFailed:
    ladder, name = chosen.ladder, chosen.trial.step.name
    rungs = tuple(replace(step, became="failed") if step.name == name else step for step in ladder.rungs)
    ladder = replace(ladder, rungs=rungs, chosen="", why=f"{name} held on validation images, not on test images")
    return LadderFailed(
        f"{trials.target.name} {name} held its floor on validation images, and on test images "
        f"{'; '.join(final.reasons)} ({final.source}); give more validation images, or a larger --max-drop",
        ladder,
        replace(chosen, ladder=ladder),
    )


def _refused(
    trials: Trials,
    network: CalibratedNetwork,
    tried: Sequence[Trial],
    responsible: Sequence[Sensitivity],
    calibration_data: CalibrationData,
) -> LadderFailed:
    nearest = max(tried, key=lambda trial: trial.step.judged.bound_points if trial.step.judged else float("-inf"))
    ladder = Ladder(
        floor=trials.floor,
        rungs=tuple(replace(trial.step, became="failed") for trial in tried),
        chosen="",
        why=f"none holds the floor; nearest is {nearest.step.name}",
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
    reasons = nearest.step.problem or "; ".join(nearest.step.judged.reasons if nearest.step.judged else ())
    layers = ", ".join(sensitivity.node for sensitivity in responsible) or "none could be measured"
    # ranges of a few pictures harm every layer: no layer is to blame for them
    cause = calibration_data.calibration.too_few or f"The layers to blame: {layers}"
    return (
        f"{trials.target.name}: none of {len(tried)} steps of the ladder holds the floor of {trials.floor}; nearest is "
        f"{nearest.step.name}: {reasons}. {cause[0].upper()}{cause[1:]}. Give --fallback for 16 bits, or a larger "
        "--max-drop"
    )


def _calibration(network: CalibratedNetwork, chosen: Trial) -> Calibration:
    images = network.calibration
    return Calibration(f"{chosen.step.did}; {images.source}", len(images.files), images.sha256)
