"""int8 and auto for all targets of an export: a ladder and a bundle each, or the reason why there is none."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.failures import Failed, TargetsFailed
from edgeclf_export.proof.bundling import keep_aside
from edgeclf_export.proof.images import ProofImages
from edgeclf_export.quantize.calibrated_network import CalibratedNetwork
from edgeclf_export.quantize.calibration_data import CalibrationData, Int8Options, load_calibration_data
from edgeclf_export.quantize.chosen_bundle import write_bundle
from edgeclf_export.quantize.learning.learned_network import Learning, LearningOptions
from edgeclf_export.quantize.selection import Chosen, LadderFailed, choose, without_chosen
from edgeclf_export.quantize.trial import Trials
from edgeclf_export.targets.target import ExportGraph, Target
from edgeclf_runtime.bundle.atomic_write import set_aside, writing
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.deploy.candidates import TimeCalls, time_calls
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    from edgeclf_export.exportable import Exportable

PRECISIONS = ("int8", "auto")


@dataclass(frozen=True, slots=True)
class Order:
    """Which precision, for which targets, where each bundle goes; `fallback_places`: where bundles of 16 bits go."""

    precision: str
    targets: Mapping[str, Target]
    places: Mapping[str, Path]
    fallback_places: Mapping[tuple[str, str], Path]
    force: bool


def export_quantized(
    exportable: Exportable,
    order: Order,
    options: Int8Options,
    export_graph: ExportGraph,
    images: ProofImages,
    reference_outputs: NDArray[np.float32],
    progress: Progress,
    time: TimeCalls = time_calls,
) -> Iterator[tuple[Path, Manifest, Proof]]:
    """Yields (path, manifest, proof) of each target's bundle as it is published.

    Raises
    ------
    TargetsFailed
        After all were tried: for one or more targets no step passes the accuracy gate, or the finished bundle differs
        from the model that was evaluated. What came nearest is kept aside as NAME.failed.
    UsageError, DataError
        As `load_calibration_data`: images to calibrate and to evaluate on are missing.
    """
    if exportable.multi_label:
        options = replace(options, gate=replace(options.gate, metric="mAP"))
    calibration_data = load_calibration_data(exportable, options, progress)
    network = CalibratedNetwork(export_graph, calibration_data.calibration)
    learning = _learning(network, calibration_data, options, next(iter(order.places.values())), progress)
    failed: list[Failed] = []
    made: list[str] = []
    with nullcontext() if learning is None else learning.keeping_what_is_learned():
        for target in order.places:
            with tempfile.TemporaryDirectory() as scratch:
                trials = Trials(
                    order.targets[target],
                    export_graph,
                    calibration_data.evaluation_set,
                    calibration_data.pixels,
                    options.gate,
                    Path(scratch),
                )
                choose_step = partial(
                    choose,
                    trials,
                    network,
                    calibration_data,
                    options,
                    auto=order.precision == "auto",
                    progress=progress,
                    time=time,
                    learning=learning,
                )
                bundle = _bundle(target, trials, choose_step, order, images, reference_outputs, progress)
            if isinstance(bundle, Failed):
                failed.append(bundle)
                continue
            made.append(target)
            yield bundle
        if failed:
            raise TargetsFailed(failed, made)


def _bundle(
    target: str,
    trials: Trials,
    choose_step: Callable[[], Chosen],
    order: Order,
    images: ProofImages,
    reference_outputs: NDArray[np.float32],
    progress: Progress,
) -> tuple[Path, Manifest, Proof] | Failed:
    """One target's bundle, published, or why there is none."""
    destination, ladder = order.places[target], None
    try:
        chosen = choose_step()
        ladder = chosen.ladder
        precision = chosen.trial.step.precision
        if order.precision == "int8" and precision != "int8":
            destination = order.fallback_places[target, precision]
        progress.step(f"proving {destination.name}")
        with writing(destination, force=order.force) as draft:
            manifest, proof = write_bundle(draft, chosen, trials, images, reference_outputs)
            if proof.verdict == "fail":
                ladder = without_chosen(ladder, f"{ladder.chosen} was chosen, and fails its proof")
                raise GateError(keep_aside(draft, destination, proof))
    except LadderFailed as error:
        aside = _keep_nearest(error, destination, trials, images, reference_outputs)
        kept = f"; it is kept aside as {aside}" if aside else ""
        return Failed(target, str(error) + kept, aside, error.ladder)
    except GateError as error:
        return Failed(target, str(error), ladder=ladder)
    return destination, manifest, proof


def _learning(
    network: CalibratedNetwork, data: CalibrationData, options: Int8Options, place: Path, progress: Progress
) -> Learning | None:
    """The step of learning, not begun; None: it is not wanted, or can't show that it passes."""
    if options.learn_minutes is None or not data.learning:
        return None
    file = place.with_name(f"{place.name}.learning.npz")
    if options.resume and not file.exists():
        progress.note(f"--resume: there is no {file} to go on with; if weights learn, they start anew")
    return Learning(
        network,
        LearningOptions(options.learn_minutes, data.learning, options.seed, file, options.resume),
        progress,
    )


def _keep_nearest(
    error: LadderFailed, destination: Path, trials: Trials, images: ProofImages, reference_outputs: NDArray[np.float32]
) -> Path | None:
    """Keeps the nearest step's bundle as NAME.failed; None: there is none."""
    if error.nearest is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / destination.name
        write_bundle(draft, error.nearest, trials, images, reference_outputs)
        return set_aside(draft, destination)
