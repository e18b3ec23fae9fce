"""A judgement in words: which images it is about, how many, and what was selected on them."""

from __future__ import annotations

from edgeclf.evaluation.judgement import Judgement
from edgeclf.wording import count

_ORIGINS = {
    "given": "by its own splits",
    "own": "by the split that it was trained with",
    "drawn": "by a split drawn by chance, for it had none",
}


def images_in_words(judged: Judgement) -> str:
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


def _classes(judged: Judgement) -> str:
    classes = f"{len(judged.evaluation.classes):,}"
    if judged.classes_present is None:
        return f"{classes} classes"
    return f"{judged.classes_present:,} of {classes} classes present, predictions among all {classes}"


def _selected(judged: Judgement) -> str:
    if not judged.selected_on:
        return ""
    these = judged.selected_on == judged.evaluation.images
    which = "these images" if these else f"{count(judged.selected_on, 'validation image')} among these"
    return f" (selected on {which}: the best epoch, and what was fitted)"
