"""Evaluates a bundle on labelled images, and writes the report: JSON, an HTML page and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeclf.evaluation.evaluation_report import EvaluationReport, Subject
from edgeclf.evaluation.inference import (
    Predictions,
    count_test_images,
    images_of,
    match_labels,
    predict_with_bundle,
)
from edgeclf.evaluation.surest_mistakes import surest_label_mistakes, surest_mistakes
from edgeclf.evaluation.test_set_usage import TestUse
from edgeclf.evaluation.unknown import check_unknown, evaluate_unknown, not_unknown
from edgeclf.wording import json_ready
from edgeclf_benchmarks.measuring.predictions import Origin, selected_on
from edgeclf_benchmarks.measuring.thresholds import passes
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, all_labels, class_numbers, label_targets
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.curves import curves_of
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.metrics import evaluate, to_scores
from edgeclf_runtime.metrics.multilabel import evaluate_labels
from edgeclf_runtime.progress import SILENT, Progress

SCHEMA = 1  # of report.json
REPORT, PAGE = "report.json", "report.html"


def evaluate_bundle(
    bundle: Bundle,
    data: DataSplit,
    split: str = "test",
    *,
    options: SessionOptions = SessionOptions(),
    batch_size: int = 16,
    origin: Origin | None = None,
    present: bool = False,
    unknown: Sequence[LabelledImage] = (),
    progress: Progress = SILENT,
) -> EvaluationReport:
    """How good a bundle's predictions for one split ("all": for every image) are.

    Labels are matched by name. The use of test images is recorded beside the bundle before they are read. `origin` as
    `HeldOut` has it; `present`: the data need not have images of every class; `unknown`: images of none of the classes.

    Raises
    ------
    UsageError
        No such split, or no images in it.
    DataError
        The bundle and the data have different classes; the use can't be recorded; no image is readable.
    """
    manifest = bundle.manifest
    images = images_of(data, split)
    match_labels(manifest.labels, data.classes, bundle.name, data.root)
    check_unknown(unknown, data.images, manifest.scores)
    use = count_test_images(
        bundle.sidecar, images, subject=bundle.digest, data_sha256=data.digest, verb="eval", manifest=manifest
    )
    run = partial(predict_with_bundle, bundle, options=options, batch_size=batch_size, progress=progress)
    predictions = run(images)
    trained_on = manifest.provenance.data_sha256
    other_data = trained_on is not None and trained_on != data.digest
    chosen = sum(image.split == "val" for image in predictions.images) if selected_on(manifest, data.digest) else 0
    return evaluate_predictions(
        predictions,
        subject_of(bundle),
        data,
        split,
        use=use,
        other_data=other_data,
        origin=origin or ("own" if trained_on == data.digest else "given"),
        chosen=chosen,
        present=present,
        unknown=run(unknown) if unknown else None,
    )


def subject_of(bundle: Bundle) -> Subject:
    manifest = bundle.manifest
    return Subject(
        kind="bundle",
        name=bundle.name,
        digest=bundle.digest,
        target=manifest.target,
        weights_precision=manifest.weights_precision,
        classes=manifest.labels,
        scores=manifest.scores,
        temperature=manifest.temperature,
        thresholds=manifest.thresholds,
        temperature_fit=manifest.temperature_fit,
    )


def evaluate_predictions(
    predictions: Predictions,
    subject: Subject,
    data: DataSplit,
    split: str,
    *,
    use: TestUse | None = None,
    other_data: bool = False,
    origin: Origin | None = None,
    chosen: int = 0,
    present: bool = False,
    unknown: Predictions | None = None,
) -> EvaluationReport:
    """The evaluation of logits, wherever they come from: a bundle's session, or a run's own network.

    Raises DataError where no image could be read.
    """
    images, unreadable = predictions.images, predictions.unreadable
    if not images:
        first = f"{unreadable[0].path}: {unreadable[0].error}"
        raise DataError(f"none of the {len(unreadable)} images could be read, the first: {first}")
    figures = (_several_labels if data.multi_label else _one_label)(predictions, subject, unknown)
    return EvaluationReport(
        created_utc=now_utc(),
        subject=subject,
        data=data.name,
        data_sha256=data.digest,
        split=split,
        test_use=use,
        other_data=other_data,
        unreadable=unreadable,
        seconds=predictions.seconds,
        compute_precision=predictions.compute_precision,
        engine=dict(predictions.engine),
        machine=machine_facts(),
        origin=origin,
        of_images=len(data.images),
        selected_on=chosen,
        classes_present=len(set(all_labels(images))) if present else None,
        **figures,
    )


def _one_label(predictions: Predictions, subject: Subject, unknown: Predictions | None) -> dict[str, Any]:
    """The fields of a report on images of one label each."""
    labels = class_numbers(predictions.images, subject.classes)
    found = to_scores(predictions.logits, subject.scores, subject.temperature)
    groups = [image.group for image in predictions.images]
    figures = evaluate(
        predictions.logits,
        labels,
        subject.classes,
        scores=subject.scores,
        temperature=subject.temperature,
        groups=groups,
    )
    energies = None if subject.scores == "margin" else energies_of(predictions.logits, subject.scores)
    known = passes(found, subject.thresholds, energies, predictions.similarities)
    right = found.argmax(axis=1) == labels
    return {
        "evaluation": figures,
        "answered": None if known is None else float(known.mean()),
        "right_of_answered": float(right[known].mean()) if known is not None and known.any() else None,
        "curves": curves_of(found, labels, subject.classes, [each.auc for each in figures.per_class]),
        "worst": surest_mistakes(found, labels, predictions.images, subject),
        "unknown": None if unknown is None else evaluate_unknown(unknown, predictions, subject, groups),
    }


def _several_labels(predictions: Predictions, subject: Subject, unknown: Predictions | None) -> dict[str, Any]:
    """The fields of a report on images of several labels, at the thresholds of the labels."""
    targets = label_targets(predictions.images, subject.classes)
    found = to_scores(predictions.logits, "sigmoid", subject.temperature)
    groups = [image.group for image in predictions.images]
    figures = evaluate_labels(
        predictions.logits,
        targets,
        subject.classes,
        thresholds=subject.thresholds.per_class,
        temperature=subject.temperature,
        groups=groups,
    )
    known = not_unknown(predictions, subject)
    return {
        "evaluation": figures,
        "curves": curves_of(found, targets, subject.classes, [each.auc for each in figures.per_label]),
        "worst": surest_label_mistakes(found, targets > 0, figures, predictions.images),
        "answered": None if known is None else float(known.mean()),
        "unknown": None if unknown is None else evaluate_unknown(unknown, predictions, subject, groups, targets),
    }


def write_evaluation_report(
    report: EvaluationReport,
    data: DataSplit,
    folder: Path,
    *,
    pictures: Mapping[str, bytes] = MappingProxyType({}),
    force: bool = False,
) -> list[Path]:
    """Writes report.html, report.json and plots into `folder`, in one step. Returns their paths.

    `pictures`: those of explained mistakes.
    """
    from edgeclf.evaluation.page import evaluation_page
    from edgeclf.evaluation.plots import draw_plots

    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / REPORT).write_text(json.dumps(report_document(report), indent=1, allow_nan=False) + "\n")
        drawn = [*draw_plots(report, data, draft), *pictures]
        for name, content in pictures.items():
            (draft / name).write_bytes(content)
        (draft / PAGE).write_text(evaluation_page(report, draft), encoding="utf-8")
    return [folder / name for name in (PAGE, REPORT, *drawn)]


def report_document(report: EvaluationReport) -> dict[str, Any]:
    """The report as JSON, its schema first."""
    return {"schema": SCHEMA, "kind": report.kind, **json_ready(report)}


def read_evaluation_report(path: Path) -> EvaluationReport:
    """What `write_evaluation_report` wrote, or an earlier version of it. Raises DataError for anything else."""
    content = parse_json(path.read_bytes())
    if content.get("schema") != SCHEMA:
        raise DataError(f"{path}: schema {content.get('schema')}, this edgeclf reads {SCHEMA}; run eval again")
    body = {key: value for key, value in content.items() if key not in ("schema", "kind")}
    return from_json(EvaluationReport, body, str(path))
