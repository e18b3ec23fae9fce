"""A bundle with decision thresholds chosen on validation images: a new one beside it, since bundles never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeclf.evaluation.inference import Predictions, images_of, match_labels, predict_with_bundle
from edgeclf.evaluation.label_thresholds import LabelThresholds, fit_label_thresholds
from edgeclf.evaluation.test_set_usage import known_uses
from edgeclf.evaluation.thresholds import OperatingPoint, Wanted, fit_operating_point, fit_unknown
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import seal, seal_proven, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Candidate, Manifest
from edgeclf_runtime.bundle.own_outputs import record_predictions_again
from edgeclf_runtime.deploy.candidates import FOLDER, with_candidate
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import class_numbers, label_targets
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.metrics import Scores, to_scores
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import VALIDATION, ValidationCounter
from edgeclf_runtime.progress import SILENT, Progress


def with_operating_point(
    bundle: Bundle,
    data: DataSplit,
    wanted: Wanted,
    *,
    per_class: bool = False,
    options: SessionOptions = SessionOptions(),
    batch_size: int = 16,
    force: bool = False,
    progress: Progress = SILENT,
) -> tuple[Bundle, OperatingPoint | LabelThresholds]:
    """The new bundle, NAME-precision0.95 for example, and what its thresholds give on validation.

    The engine's files, and so the proof, are the old bundle's; `derived_from` names it. It keeps a summary of the
    validation images, for `edgeclf drift`, which bundles of earlier versions lack.

    Raises UsageError where the data has no validation images or the new bundle exists, GateError where no threshold
    reaches what is wanted; as `evaluate_bundle` otherwise.
    """
    manifest = bundle.manifest
    destination = place_of(bundle, wanted)
    images = images_of(data, "val")
    match_labels(manifest.labels, data.classes, bundle.name, data.root)
    with writing(destination, force=force) as draft:
        looks: list[dict[str, float]] = []
        predictions = predict_with_bundle(
            bundle,
            images,
            options=options,
            batch_size=batch_size,
            observe=lambda batch: looks.extend(map(image_statistics, batch)),
            progress=progress,
        )
        point = choose_thresholds(
            predictions,
            manifest.labels,
            wanted,
            multi_label=data.multi_label,
            scores=manifest.scores,
            temperature=manifest.temperature,
            least=manifest.thresholds.per_class,
            per_class=per_class,
        )
        bundle.copy_files(draft)
        manifest = replace(
            manifest,
            thresholds=point.added_to(manifest.thresholds),
            candidates=_candidates(manifest, wanted),
            derived_from=bundle.digest,
            provenance=replace(manifest.provenance, test_uses=_uses_until_now(bundle)),
        )
        record_predictions_again(draft, manifest)
        counter = ValidationCounter(manifest)
        counter.add(looks, predictions.logits, predictions.similarities)
        (draft / VALIDATION).write_bytes(counter.summary().to_bytes())
        for each in manifest.candidates:
            record_predictions_again(draft / FOLDER / each.folder, with_candidate(manifest, each))
        seal(draft, manifest)
        if manifest.proof is not None:  # the engine's files, and so the proof of them, are the old bundle's
            seal_proven(draft, manifest, manifest.proof)
    return Bundle.open(destination), point


def choose_thresholds(
    predictions: Predictions,
    classes: Sequence[str],
    wanted: Wanted,
    *,
    multi_label: bool,
    scores: Scores,
    temperature: float,
    least: Sequence[float] | None = None,
    per_class: bool = False,
) -> OperatingPoint | LabelThresholds:
    """Thresholds for the predictions of validation images: of several labels, one a label, whatever `per_class` says.

    What is unknown has the same thresholds for both kinds. `least`: those of several labels as they are; None: 0.5.

    Raises GateError where none reaches what is wanted of images of one label each.
    """
    if multi_label:
        found, targets = (
            to_scores(predictions.logits, "sigmoid", temperature),
            label_targets(predictions.images, classes),
        )
        if wanted.figure != "unknown":
            return fit_label_thresholds(found, targets, classes, wanted)
        right = ((found >= np.array(least or THRESHOLD)) == (targets > 0)).all(axis=1)
        return fit_unknown(energies_of(predictions.logits, "sigmoid"), predictions.similarities, right, wanted)
    point = fit_operating_point(
        predictions.logits,
        class_numbers(predictions.images, classes),
        wanted,
        scores=scores,
        temperature=temperature,
        per_class=per_class,
        similarities=predictions.similarities,
    )
    point.check()
    return point


def _candidates(manifest: Manifest, wanted: Wanted) -> tuple[Candidate, ...]:
    """Models that were not run here take the threshold of the energy of the one that was."""
    if wanted.figure != "unknown":
        return manifest.candidates
    return tuple(replace(each, energy=None) for each in manifest.candidates)


def _uses_until_now(bundle: Bundle) -> tuple[str, ...]:
    """Ids of all known uses of the test split that the bundle was trained with."""
    provenance = bundle.manifest.provenance
    if provenance.data_sha256 is None:
        return provenance.test_uses
    return tuple(sorted({*provenance.test_uses, *known_uses(bundle.sidecar, provenance.data_sha256)}))


def place_of(bundle: Bundle, wanted: Wanted) -> Path:
    """Where the new bundle goes: beside the old one."""
    folder = bundle.path.parent if bundle.path.name not in ("", "..") else bundle.path.resolve().parent
    return folder / f"{bundle.name}-{str(wanted).replace('=', '')}"
