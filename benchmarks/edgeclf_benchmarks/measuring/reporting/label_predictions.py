"""Rows of a bench whose images may have several labels: their figures, predictions, parity and labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.predictions import LabelledImages, in_order_of
from edgeclf_benchmarks.measuring.report import Image
from edgeclf_benchmarks.measuring.report_rows import Predictions
from edgeclf_benchmarks.measuring.state import BenchState, Part
from edgeclf_runtime.bundle.label_parity import LabelPredictions, label_parity_of
from edgeclf_runtime.bundle.parity import Parity
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.multilabel import evaluate_labels


def evaluate_part(
    state: BenchState, part: Part, outputs: NDArray[np.float32], data: LabelledImages
) -> LabelPredictions:
    """A row's evaluated predictions in the data's order of classes, at the bundle's own thresholds."""
    manifest = part.bundle.manifest
    places = [manifest.labels.index(label) for label in data.classes]
    per_label, label_logits = manifest.thresholds.per_class, manifest.label_logits
    ordered = in_order_of(data.classes, outputs, manifest)
    figures = evaluate_labels(
        ordered,
        state.targets,
        data.classes,
        thresholds=None if per_label is None else [per_label[place] for place in places],
        temperature=manifest.temperature,
        groups=[image.group for image in state.images],
        seed=state.options.seed,
    )
    scores = to_scores(ordered, "sigmoid", manifest.temperature)
    return LabelPredictions(
        scores=scores,
        predicted=scores >= np.array([each.threshold for each in figures.per_label]),
        evaluation=figures,
        outputs=ordered,
        label_logits=None if label_logits is None else label_logits[places],
    )


def parity_of_labels(state: BenchState, own: LabelPredictions, reference: LabelPredictions) -> Parity:
    """Against the reference row."""
    return label_parity_of(
        own,
        reference,
        state.targets,
        name=state.reference.name,
        digest=state.reference.bundle.digest,
        groups=[image.group for image in state.images],
        margin_points=state.options.margin_points,
        seed=state.options.seed,
    )


def label_images(state: BenchState) -> tuple[Image, ...]:
    """The images with the numbers of their labels."""
    return tuple(
        Image(image.name, -1, image.group, tuple(np.flatnonzero(row).tolist()))
        for image, row in zip(state.images, state.targets, strict=True)
    )


def label_predictions(own: LabelPredictions) -> Predictions:
    """What the report keeps of them."""
    return Predictions(
        numbers=tuple(own.numbers.tolist()),
        confidence=tuple(own.scores.max(axis=1).round(6).tolist()),
        labels=tuple(tuple(np.flatnonzero(row).tolist()) for row in own.predicted),
        logits=tuple(tuple(float(f"{value:.9g}") for value in row) for row in own.outputs.tolist()),
    )
