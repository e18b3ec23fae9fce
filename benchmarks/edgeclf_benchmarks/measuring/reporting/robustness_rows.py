"""What corrupted images show of each row of a bench, beside the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.corrupted_images import CorruptedImages
from edgeclf_benchmarks.measuring.state import BenchState, Part
from edgeclf_runtime.bundle.label_parity import LabelPredictions
from edgeclf_runtime.bundle.parity import RowPredictions
from edgeclf_runtime.metrics.intervals import Resampling, number_groups
from edgeclf_runtime.metrics.label_robustness import (
    CorruptedLabels,
    draw_maps,
    label_robustness_of,
    resampling_within_cost,
)
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.robustness import Numbers, Robustness, robustness_of

Evaluated = RowPredictions | LabelPredictions


def robustness_of_rows(state: BenchState, evaluated: Mapping[str, Evaluated]) -> dict[str, Robustness]:
    """For each row with predictions for corrupted images; none where no corruptions were chosen, or none was made.

    Where images may have several labels and no corrupted one has any, there is no mAP either.
    """
    corrupted = state.corrupted
    if corrupted is None or not corrupted.places:
        return {}
    parts = [part for part in state.parts if part.name in corrupted.predictions]
    if state.multi_label:
        return _of_labels(state, corrupted, parts, evaluated)
    groups = number_groups([state.images[place].group for place in corrupted.places])
    resampling = Resampling(len(corrupted.places), groups, seed=state.options.seed)
    numbers = {part.name: _numbers(corrupted, part, evaluated) for part in parts}
    return {
        part.name: robustness_of(
            _ways(corrupted),
            numbers[part.name],
            None if part is state.reference else numbers[state.reference.name],
            state.labels[corrupted.places],
            resampling,
            margin_points=state.options.margin_points,
        )
        for part in parts
    }


def _ways(corrupted: CorruptedImages) -> list[tuple[str, int]]:
    return [(each.name, each.level) for each in corrupted.corruptions]


def _numbers(corrupted: CorruptedImages, part: Part, evaluated: Mapping[str, Evaluated]) -> Numbers:
    return Numbers(evaluated[part.name].numbers[corrupted.places], corrupted.of(part.name))


def _of_labels(
    state: BenchState, corrupted: CorruptedImages, parts: list[Part], evaluated: Mapping[str, Evaluated]
) -> dict[str, Robustness]:
    right = state.targets[corrupted.places]
    if not right.any():
        return {}
    groups = number_groups([state.images[place].group for place in corrupted.places])
    images, labels = right.shape
    plan = resampling_within_cost(images, labels, len(corrupted.corruptions), groups, state.options.seed)
    found = {part.name: _labels(corrupted, part, evaluated, right, plan) for part in parts}
    return {
        part.name: label_robustness_of(
            _ways(corrupted),
            found[part.name],
            None if part is state.reference else found[state.reference.name],
            right,
            plan,
            margin_points=state.options.margin_points,
        )
        for part in parts
    }


def _labels(
    corrupted: CorruptedImages,
    part: Part,
    evaluated: Mapping[str, Evaluated],
    right: NDArray[np.bool_],
    plan: Resampling,
) -> CorruptedLabels:
    own = evaluated[part.name]
    if not isinstance(own, LabelPredictions):
        raise TypeError(f"{part.name} predicts one label an image")
    scores = to_scores(corrupted.of(part.name), "sigmoid", part.bundle.manifest.temperature)
    thresholds = np.array([each.threshold for each in own.evaluation.per_label])
    return CorruptedLabels(
        clean=own.scores[corrupted.places],
        clean_predicted=own.predicted[corrupted.places],
        corrupted=scores,
        predicted=scores >= thresholds,
        maps=draw_maps(scores, right, plan),
    )
