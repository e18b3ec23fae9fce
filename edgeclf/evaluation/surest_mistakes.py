"""The wrong predictions that were made with most confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf.evaluation.evaluation_report import Mistake, Subject
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

_MOST = 24


def surest_mistakes(
    found: NDArray[np.float64], labels: NDArray[np.intp], images: Sequence[LabelledImage], subject: Subject
) -> tuple[Mistake, ...]:
    """Of images of one label each, for (N, classes) scores and the numbers of the right classes."""
    predicted = found.argmax(axis=1)
    confidence = found.max(axis=1)
    if subject.scores == "margin":
        confidence = confidence - found[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MOST]
    classes = subject.classes
    return tuple(
        Mistake(images[i].name, classes[labels[i]], classes[predicted[i]], float(confidence[i])) for i in surest
    )


def surest_label_mistakes(
    found: NDArray[np.float64],
    right: NDArray[np.bool_],
    figures: MultiLabelEvaluation,
    images: Sequence[LabelledImage],
) -> tuple[Mistake, ...]:
    """The wrong decisions about one label of an image each, for (N, labels) scores and which labels are there.

    `confidence` is the share of the way from the threshold to 0 or 1 that the probability lies on the wrong side.
    """
    thresholds = np.array([each.threshold for each in figures.per_label])
    predicted = found >= thresholds
    room = np.maximum(np.where(predicted, 1 - thresholds, thresholds), 1e-9)  # to 1, or to 0
    confidence = np.minimum(np.abs(found - thresholds) / room, 1.0)
    rows, columns = np.nonzero(predicted != right)
    surest = np.argsort(-confidence[rows, columns], kind="stable")[:_MOST]
    return tuple(
        Mistake(
            path=images[row].name,
            label=images[row].label_text,
            answer=f"{'predicted' if predicted[row, column] else 'missed'} {figures.classes[column]}",
            confidence=float(confidence[row, column]),
            decided=figures.classes[column],
        )
        for row, column in zip(rows[surest], columns[surest], strict=True)
    )
