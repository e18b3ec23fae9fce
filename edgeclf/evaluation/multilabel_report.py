"""An evaluation where images may have several labels: its report, and what becomes of logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.evaluation_report import Mistake, Subject
from edgeclf.evaluation.inference import Predictions
from edgeclf.evaluation.test_set_usage import TestUse
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, label_targets
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.curves import Curves, curves_of
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation, evaluate_labels

WORST_ERRORS = 24


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """The content of report.json, kind "multi-label evaluation"; its fields mean what those of `EvaluationReport` do.

    `worst`: the wrong decisions that were made with most confidence, each about one label of an image; `confidence` is
    the share of the way from the threshold to 0 or 1 that its probability lies on the wrong side.
    """

    created_utc: str
    subject: Subject
    data: str
    data_sha256: str
    split: str
    test_use: TestUse | None
    other_data: bool
    evaluation: MultiLabelEvaluation
    curves: tuple[Curves, ...]
    worst: tuple[Mistake, ...]
    unreadable: tuple[Unreadable, ...]
    seconds: float
    compute_precision: str
    engine: dict[str, str]
    machine: dict[str, str]
    origin: Origin | None = None
    of_images: int | None = None
    selected_on: int = 0


def evaluate_label_predictions(
    predictions: Predictions,
    subject: Subject,
    data: DataSplit,
    split: str,
    *,
    use: TestUse | None = None,
    other_data: bool = False,
    origin: Origin | None = None,
    chosen: int = 0,
) -> MultiLabelReport:
    """The evaluation of logits at the subject's thresholds. Raises DataError where no image could be read."""
    images, unreadable = predictions.images, predictions.unreadable
    if not images:
        first = f"{unreadable[0].path}: {unreadable[0].error}"
        raise DataError(f"none of the {len(unreadable)} images could be read, the first: {first}")
    targets = label_targets(images, subject.classes)
    figures = evaluate_labels(
        predictions.logits,
        targets,
        subject.classes,
        thresholds=subject.thresholds.per_class,
        temperature=subject.temperature,
        groups=[image.group for image in images],
    )
    found = to_scores(predictions.logits, "sigmoid", subject.temperature)
    thresholds = np.array([each.threshold for each in figures.per_label])
    return MultiLabelReport(
        created_utc=now_utc(),
        subject=subject,
        data=data.name,
        data_sha256=data.digest,
        split=split,
        test_use=use,
        other_data=other_data,
        evaluation=figures,
        curves=curves_of(found, targets, subject.classes, [each.auc for each in figures.per_label]),
        worst=_worst(found, targets > 0, thresholds, images, subject.classes),
        unreadable=unreadable,
        seconds=predictions.seconds,
        compute_precision=predictions.compute_precision,
        engine=dict(predictions.engine),
        machine=machine_facts(),
        origin=origin,
        of_images=len(data.images),
        selected_on=chosen,
    )


def _worst(
    found: NDArray[np.float64],
    right: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    images: Sequence[LabelledImage],
    classes: Sequence[str],
) -> tuple[Mistake, ...]:
    predicted = found >= thresholds
    room = np.maximum(np.where(predicted, 1 - thresholds, thresholds), 1e-9)  # to 1, or to 0
    confidence = np.minimum(np.abs(found - thresholds) / room, 1.0)
    rows, columns = np.nonzero(predicted != right)
    surest = np.argsort(-confidence[rows, columns], kind="stable")[:WORST_ERRORS]
    return tuple(
        Mistake(
            path=images[row].name,
            label=images[row].label_text,
            answer=f"{classes[column]}{' predicted' if predicted[row, column] else ' missed'}",
            confidence=float(confidence[row, column]),
        )
        for row, column in zip(rows[surest], columns[surest], strict=True)
    )
