"""Sentences about an evaluation: which images it is on, how many, and what was selected on them."""

from __future__ import annotations

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.wording import count
from edgeclf_runtime.metrics.intervals import wilson
from edgeclf_runtime.metrics.metrics import ClassFigures
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

_FEW = 10  # images of a class below which its figures are shown with their interval

_ORIGINS = {
    "given": "by its own splits",
    "own": "by the split that it was trained with",
    "drawn": "by a split drawn at random, since it had none",
}


def images_in_words(report: EvaluationReport) -> str:
    """Which images of the data these are, how many, of which classes, and what of the model was selected on them."""
    figures = report.evaluation
    tried = figures.images + len(report.unreadable)
    read = f", {figures.images:,} of them readable" if report.unreadable else ""
    if report.origin == "whole":
        found = f"all {count(tried, 'image')} of {report.data}, which has no splits{read}"
    else:
        of_all = "" if report.of_images in (None, tried) else f" of {report.of_images:,}"
        split = "train, val and test" if report.split == "all" else report.split
        found = f"{split} images of {report.data}: {count(tried, 'image')}{of_all}{read}"
        found += f" {_ORIGINS[report.origin]}" if report.origin in _ORIGINS and report.split != "all" else ""
    return f"{found}; {_classes(report)}{_selected(report)}"


def _classes(report: EvaluationReport) -> str:
    figures, present = report.evaluation, report.classes_present
    words, classes = "labels" if isinstance(figures, MultiLabelEvaluation) else "classes", f"{len(figures.classes):,}"
    found = f"{classes} {words}"
    if present is not None:
        found = f"{present:,} of {classes} {words} present, predictions among all {classes}"
    if isinstance(figures, MultiLabelEvaluation):
        found += f", {count(figures.without_label, 'image')} without any"
    return found


def _selected(report: EvaluationReport) -> str:
    if not report.selected_on:
        return ""
    these = report.selected_on == report.evaluation.images
    which = "these images" if these else f"{count(report.selected_on, 'validation image')} among these"
    return f" (selected on {which}: the best epoch, and what was fitted)"


def untempered(value: float | None, temperature: float) -> str:
    """What ECE or NLL would be at a temperature of 1: "0.116 without the temperature of 0.617"; "" where it is 1."""
    return "" if value is None else f"{value:.3f} without the temperature of {temperature:.3g}"


def of_few_images(each: ClassFigures) -> str:
    """What the few images of a class leave open: "few: recall 0.34 to 1.00"; "" where they are many, or none."""
    if not each.support or each.support >= _FEW or each.recall is None:
        return ""
    recall = wilson(round(each.recall * each.support), each.support)
    return f"few: recall {recall.low:.2f} to {recall.high:.2f}"
