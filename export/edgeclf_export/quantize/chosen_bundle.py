"""The bundle of the chosen step of the ladder: its files, its candidates, its golden images, its proof."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.proof.bundling import prove_and_seal, write_golden
from edgeclf_export.proof.features import with_features_output
from edgeclf_export.proof.images import ProofImages
from edgeclf_export.quantize.selection import Chosen
from edgeclf_export.quantize.trial import Trial, Trials, copy_model
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import OwnOutputs
from edgeclf_runtime.bundle.manifest import Calibration, Candidate, Manifest
from edgeclf_runtime.bundle.own_outputs import record_own_outputs
from edgeclf_runtime.bundle.proof import Proof, Tolerances
from edgeclf_runtime.deploy.candidates import FOLDER
from edgeclf_runtime.deploy.verify import run_pixels
from edgeclf_runtime.machine.facts import machine_facts


def write_bundle(
    draft: Path, chosen: Chosen, trials: Trials, images: ProofImages, reference_outputs: NDArray[np.float32]
) -> tuple[Manifest, Proof]:
    """The chosen step's files and the candidates' as a proven bundle in the new folder `draft`."""
    draft.mkdir()
    manifest = chosen.trial.manifest
    if manifest is None:
        raise ValueError(f"{chosen.trial.step.name} has no model")
    copy_model(chosen.trial.folder, draft)
    owns: dict[str, OwnOutputs] = {}
    for trial in chosen.candidates:
        place = draft / FOLDER / trial.folder.name
        copy_model(trial.folder, place)
        owns[trial.step.name] = _own_outputs(trials, trial, place, images)
    golden = write_golden(draft / "golden", images, reference_outputs)
    manifest = replace(
        manifest,
        golden=golden,
        tolerances=trials.tolerances(chosen.trial, images.batch, reference_outputs),
        shares=chosen.trial.step.shares,
        ladder=chosen.ladder,
        calibration=chosen.calibration if manifest.weights_precision == "int8" else None,
        candidates=tuple(
            _candidate(
                trial,
                chosen.calibration,
                trials.tolerances(trial, images.batch, reference_outputs),
                owns[trial.step.name],
            )
            for trial in chosen.candidates
        ),
    )
    if images.features is not None:
        manifest = with_features_output(draft, manifest, trials.target, images.features, images.golden)
    return prove_and_seal(draft, manifest, images, reference_outputs, trials.target.open, trials.target.proves)


def _own_outputs(trials: Trials, trial: Trial, place: Path, images: ProofImages) -> OwnOutputs:
    """A candidate's own outputs for the golden images, written beside its files at `place`."""
    manifest = trial.manifest
    if manifest is None:
        raise ValueError(f"{trial.step.name} has no model")
    with trials.target.open(Bundle.open(trial.folder)) as session:
        outputs = run_pixels(session, manifest, images.batch[list(images.golden)])
        machine = {**machine_facts(), **session.facts}
        return record_own_outputs(place, manifest, outputs, machine, session.compute_precision)


def _candidate(trial: Trial, calibration: Calibration, tolerances: Tolerances, own: OwnOutputs) -> Candidate:
    manifest = trial.manifest
    if manifest is None:
        raise ValueError(f"{trial.step.name} has no model")
    return Candidate(
        name=trial.step.name,
        folder=trial.folder.name,
        weights_precision=manifest.weights_precision,
        compute_precision=manifest.compute_precision,
        tolerances=tolerances,
        temperature=manifest.temperature,
        temperature_fit=manifest.temperature_fit,
        energy=manifest.thresholds.energy,
        shares=trial.step.shares,
        calibration=replace(calibration, method=trial.step.did) if manifest.weights_precision == "int8" else None,
        own=own,
    )
