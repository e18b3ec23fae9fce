"""A judgement in words: which images it is about, how many, and what was selected on them."""

from __future__ import annotations

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.wording import count
from edgeclf_runtime.metrics.intervals import wilson
from edgeclf_runtime.metrics.metrics import ClassFigures

_FEW = 10  # images of a class below which its figures are shown with their interval

_ORIGINS = {
    "given": "by its own splits",
    "own": "by the split that it was trained with",
    "drawn": "by a split drawn by chance, for it had none",
}


def images_in_words(judged: EvaluationReport) -> str:
    """Which images of the data these are, how many, of which classes, and whether they selected what is judged."""
    figures = judged.evaluation
    tried = figures.images + len(judged.unreadable)
    read = f", {figures.images:,} of them readable" if judged.unreadable else ""
    if judged.origin == "whole":
        found = f"all {count(tried, 'image')} of {judged.data}, which has no splits{read}"
    else:
        of_all = "" if judged.of_images in (None, tried) else f" of {judged.of_images:,}"
        split = "train, val and test" if judged.split == "all" else judged.split
        found = f"{split} images of {judged.data}: {count(tried, 'image')}{of_all}{read}"
        found += f" {_ORIGINS[judged.origin]}" if judged.origin in _ORIGINS and judged.split != "all" else ""
    return f"{found}; {_classes(judged)}{_selected(judged)}"


def _classes(judged: EvaluationReport) -> str:
    classes = f"{len(judged.evaluation.classes):,}"
    if judged.classes_present is None:
        return f"{classes} classes"
    return f"{judged.classes_present:,} of {classes} classes present, predictions among all {classes}"


def _selected(judged: EvaluationReport) -> str:
    if not judged.selected_on:
        return ""
    these = judged.selected_on == judged.evaluation.images
    which = "these images" if these else f"{count(judged.selected_on, 'validation image')} among these"
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
