"""One rung of the ladder: a model is written, opened as a device would open it, audited and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.proof.bundling import NO_GOLDEN, describe
from edgeclf_export.quantize.accuracy_gate import EvaluationSet, evaluate_step, measured_tolerances
from edgeclf_export.targets.quantizer import Quantizer
from edgeclf_export.targets.target import Built, ExportGraph, Target
from edgeclf_runtime.backends.audit import Audit
from edgeclf_runtime.bundle.atomic_write import MANIFEST, seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.proof import TOLERANCES, Tolerances, coarser
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, Step, in_a_path
from edgeclf_runtime.deploy.verify import run_pixels
from edgeclf_runtime.errors import BackendError


@dataclass(frozen=True)
class Trial:
    """A rung, and the folder and manifest of its model; `manifest` None: the engine refused it."""

    step: Step
    folder: Path
    manifest: Manifest | None

    @property
    def is_usable(self) -> bool:
        """Whether a bundle may be made of it: it holds, or too few images leave that open."""
        judged = self.step.judged
        return self.step.problem is None and judged is not None and judged.verdict != "fail"


@dataclass(frozen=True)
class Trials:
    """How every rung of one target is tried: on the same images, against the same reference, for the same floor."""

    target: Target
    export_graph: ExportGraph
    evaluation_set: EvaluationSet
    pixels: NDArray[np.uint8]
    floor: AccuracyGate
    workshop: Path

    @property
    def quantizer(self) -> Quantizer:
        """The target's; whoever asks for int8 has checked that there is one."""
        if self.target.quantizer is None:
            raise ValueError(f"{self.target.name} has no quantizer")
        return self.target.quantizer

    def attempt(self, name: str, did: str, write: Callable[[Path], Built], *, leave: tuple[str, ...] = ()) -> Trial:
        """The rung that comes of it. An engine that refuses the model is a rung that failed, not the end."""
        folder = self.workshop / self.target.name / in_a_path(name)
        folder.mkdir(parents=True)
        try:
            built = write(folder)
            manifest = describe(self.export_graph, self.target.name, built, NO_GOLDEN)
            seal(folder, manifest)
            logits = self.answers(folder, manifest, self.pixels)
        except BackendError as error:
            step = Step(name, name.split()[0], did, leave, None, 0, None, problem=str(error))
            return Trial(step, folder, None)
        judged = evaluate_step(self.evaluation_set, logits, self.floor)
        tolerances = manifest.tolerances
        if built.weights_precision == "int8":
            tolerances = measured_tolerances(self.evaluation_set.reference, logits)
        elif built.compute_precision != "fp32":  # the floor is what was asked for, so it decides here too
            tolerances = coarser(tolerances, measured_tolerances(self.evaluation_set.reference, logits))
        manifest = replace(
            manifest,
            temperature=judged.temperature,
            temperature_fit=judged.temperature_fit or manifest.temperature_fit,
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
            judged=judged,
            problem=Audit(shares or {}).shortfall(built.compute_precision),
        )
        return Trial(step, folder, manifest)

    def answers(self, folder: Path, manifest: Manifest, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, classes) logits of a written model, opened as a device opens it."""
        with self.target.open(Bundle.open(folder)) as session:
            return run_pixels(session, manifest, pixels)

    def tolerances(self, trial: Trial, pixels: NDArray[np.uint8], answers: NDArray[np.float32]) -> Tolerances:
        """Those of the images that judged and of the proof's, with which devices verify, where these differ more.

        What is further off than int8 of any kind may be is not tolerated: there the proof shall fail.
        """
        manifest = trial.manifest
        if manifest is None:
            raise ValueError(f"{trial.step.name} has no model")
        if manifest.weights_precision != "int8":
            return manifest.tolerances
        seen = measured_tolerances(answers, self.answers(trial.folder, manifest, pixels))
        most = TOLERANCES["int8"]
        known = seen.relative <= most.relative and seen.cosine >= most.cosine and seen.kl <= most.kl
        return coarser(manifest.tolerances, seen) if known else manifest.tolerances
