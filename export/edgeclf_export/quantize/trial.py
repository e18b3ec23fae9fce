"""One step of the ladder: a model is written, opened as a device would open it, audited and evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.proof.bundling import NO_GOLDEN, describe
from edgeclf_export.proof.measured import are_plausible, measured_tolerances
from edgeclf_export.quantize.accuracy_gate import evaluate_step
from edgeclf_export.quantize.evaluation_set import EvaluationSet
from edgeclf_export.targets.quantizer import Quantizer
from edgeclf_export.targets.target import Built, ExportGraph, Target
from edgeclf_runtime.backends.audit import Audit
from edgeclf_runtime.bundle.atomic_write import MANIFEST, seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Thresholds
from edgeclf_runtime.bundle.proof import Tolerances, coarser
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, Step, in_a_path
from edgeclf_runtime.deploy.verify import run_pixels
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.metrics.energy import energies_of, fit_energy_threshold


@dataclass(frozen=True)
class Trial:
    """A step, and the folder and manifest of its model; `manifest` None: the engine refused it.

    `has_to_pass`: it is not usable where too few images leave its verdict open.
    """

    step: Step
    folder: Path
    manifest: Manifest | None
    has_to_pass: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether a bundle may be made of it: it passes the gate, or too few images leave that open."""
        evaluation = self.step.judged
        if self.has_to_pass:
            return self.step.holds
        return self.step.problem is None and evaluation is not None and evaluation.verdict != "fail"


@dataclass(frozen=True)
class Trials:
    """How every step of one target is tried: on the same images, against the same reference and accuracy gate."""

    target: Target
    export_graph: ExportGraph
    evaluation_set: EvaluationSet
    pixels: NDArray[np.uint8]
    gate: AccuracyGate
    scratch: Path

    @property
    def quantizer(self) -> Quantizer:
        """The target's; a caller that wants int8 has checked that there is one."""
        if self.target.quantizer is None:
            raise ValueError(f"{self.target.name} has no quantizer")
        return self.target.quantizer

    def attempt(self, name: str, did: str, write: Callable[[Path], Built], *, leave: tuple[str, ...] = ()) -> Trial:
        """Tries a model. Where the engine refuses it, the step has failed, and the search goes on."""
        folder = self.scratch / self.target.name / in_a_path(name)
        folder.mkdir(parents=True)
        try:
            built = write(folder)
            manifest = describe(self.export_graph, self.target.name, built, NO_GOLDEN)
            seal(folder, manifest)
            logits = self.logits(folder, manifest, self.pixels)
        except BackendError as error:
            step = Step(name, name.split()[0], did, leave, None, 0, None, problem=str(error))
            return Trial(step, folder, None)
        evaluation = evaluate_step(self.evaluation_set, logits, self.gate)
        tolerances = manifest.tolerances
        if built.weights_precision == "int8":
            tolerances = self._measured(self.evaluation_set.reference, logits)
        elif built.compute_precision != "fp32":  # the accuracy gate was asked for, so it decides here too
            tolerances = coarser(tolerances, self._measured(self.evaluation_set.reference, logits))
        manifest = replace(
            manifest,
            temperature=evaluation.temperature,
            temperature_fit=evaluation.temperature_fit or manifest.temperature_fit,
            thresholds=self._thresholds_again(manifest, logits),
            tolerances=tolerances,
        )
        seal(folder, manifest)
        shares = self.target.shares(folder, manifest)
        step = Step(
            name=name,
            precision=built.weights_precision,
            did=did,
            float_layers=leave,
            shares=shares,
            model_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST),
            judged=evaluation,
            problem=Audit(shares or {}).shortfall(
                "int8" if built.weights_precision == "int8" else built.compute_precision
            ),
        )
        return Trial(step, folder, manifest)

    def _measured(self, reference: NDArray[np.float32], logits: NDArray[np.float32]) -> Tolerances:
        return measured_tolerances(reference, logits, self.evaluation_set.label_logits)

    def _thresholds_again(self, manifest: Manifest, logits: NDArray[np.float32]) -> Thresholds:
        """The threshold of the energy for this model's own logits, where the images are of known classes."""
        energy = manifest.thresholds.energy
        if energy is None or not self.evaluation_set.labelled or not np.isfinite(logits).all():
            return manifest.thresholds
        found = fit_energy_threshold(energies_of(logits, manifest.scores), energy.false_alarms)
        return replace(manifest.thresholds, energy=found)

    def logits(self, folder: Path, manifest: Manifest, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, classes) logits of a written model, opened as a device opens it."""
        with self.target.open(Bundle.open(folder)) as session:
            return run_pixels(session, manifest, pixels)

    def tolerances(self, trial: Trial, pixels: NDArray[np.uint8], reference_outputs: NDArray[np.float32]) -> Tolerances:
        """What `verify` tolerates: the largest differences on the evaluation images and on the proof's.

        Differences beyond the tolerances of int8 in general are not added: the proof has to fail then.
        """
        manifest = trial.manifest
        if manifest is None:
            raise ValueError(f"{trial.step.name} has no model")
        if manifest.weights_precision != "int8":
            return manifest.tolerances
        seen = self._measured(reference_outputs, self.logits(trial.folder, manifest, pixels))
        return coarser(manifest.tolerances, seen) if are_plausible(seen) else manifest.tolerances


def copy_model(folder: Path, destination: Path) -> None:
    """The files of a written model without its manifest, into a folder that may be new."""
    destination.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name != MANIFEST:
            shutil.copyfile(path, destination / path.name)
