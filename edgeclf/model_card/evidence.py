"""What a model card quotes: from reports of bench and eval, only what was measured of this very bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.evaluation.report import read_evaluation_report
from edgeclf_benchmarks.measuring.report import Report, read_report
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.metrics import Evaluation
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Figures on one set of labelled images. `remark`: what limits them, such as "selected on these images"."""

    data: str
    split: str
    digest: str
    evaluation: Evaluation | MultiLabelEvaluation
    remark: str


@dataclass(frozen=True, slots=True)
class Measured:
    """A bundle's row in one report of bench."""

    file: str
    report: Report
    row: Row


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the reports hold about one bundle."""

    accuracies: tuple[Accuracy, ...]
    benches: tuple[Measured, ...]

    @property
    def training_images(self) -> int | None:
        """None: no report was on the data that it was trained on."""
        return next((each.row.training_images for each in self.benches if each.row.training_images is not None), None)


def read_evidence(paths: Sequence[Path], digest: str) -> Evidence:
    """What the reports hold about the bundle of that digest. Raises DataError for a report that is not about it."""
    accuracies: list[Accuracy] = []
    benches: list[Measured] = []
    for path in paths:
        if _is_evaluation(path):
            accuracies.append(_evaluated(path, digest))
            continue
        report = read_report(path)
        rows = [row for row in report.rows if row.digest == digest and row.kind == "bundle"]
        if not rows:
            names = ", ".join(row.name for row in report.rows)
            raise DataError(f"{path} has no row of this bundle ({digest[:12]}), only {names}; run bench on this bundle")
        benches.append(Measured(path.name, report, rows[0]))
        if report.data is not None and rows[0].evaluation is not None:
            remarks = [] if report.complete else ["the bench was interrupted"]
            remarks += ["selected on these images"] if report.data.selected_on else []
            remarks += [] if rows[0].test_look is None else [f"use no. {rows[0].test_look} of this test split"]
            data = (report.data.name, report.data.split, report.data.digest)
            accuracies.append(Accuracy(*data, rows[0].evaluation, "; ".join(remarks)))
    return Evidence(tuple(accuracies), tuple(benches))


def _evaluated(path: Path, digest: str) -> Accuracy:
    found = read_evaluation_report(path)
    if found.subject.digest != digest:
        raise DataError(
            f"{path} evaluates {found.subject.name}, not this bundle ({digest[:12]}); run eval on this bundle"
        )
    remarks = ["all images of a folder without splits"] if found.origin == "whole" else []
    if found.selected_on:
        these = found.selected_on == found.evaluation.images
        remarks.append(f"selected on {'these' if these else f'{found.selected_on} of these'} images")
    if found.classes_present is not None:
        remarks.append(f"{found.classes_present} of {len(found.evaluation.classes)} classes present")
    if found.test_use is not None:
        remarks.append(f"use no. {found.test_use.number} of this test split")
    if found.other_data:
        remarks.append("trained on another split: its training images may be among these")
    if found.unreadable:
        remarks.append(f"{len(found.unreadable)} images could not be read")
    return Accuracy(found.data, found.split, found.data_sha256, found.evaluation, "; ".join(remarks))


def _is_evaluation(path: Path) -> bool:
    """Whether eval wrote it; all else goes to the reader of bench's reports, with its error messages."""
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") in ("evaluation", "multi-label evaluation")
