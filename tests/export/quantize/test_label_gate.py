"""INT8 where images may have several labels: it has to keep mAP, and the whole ladder and its bundle hold that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patches import LABELS, TEST
from sklearn.metrics import average_precision_score

from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.quantize.accuracy_gate import evaluate_step
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.quantize.evaluation_set import EvaluationSet
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import LabelledData

GATE = AccuracyGate(1.0, metric="mAP")


def evaluation_set(images: int, *, labelled: bool = True, groups: int | None = None) -> EvaluationSet:
    """Three labels, of which the reference is mostly sure."""
    random = np.random.default_rng(0)
    targets = random.random((images, 3)) < 0.4
    logits = (np.where(targets, 2.0, -2.0) + random.normal(0, 1.5, targets.shape)).astype(np.float32)
    names = None if groups is None else [f"group {place % groups}" for place in range(images)]
    return EvaluationSet(
        logits, None, 1.0, names, "validation", targets if labelled else None, np.array([0.0, 0.5, -1.0])
    )


def test_the_figure_is_scikit_learns_and_equal_scores_pass_with_enough_images() -> None:
    found = evaluation_set(600)
    noisy = found.reference + np.random.default_rng(1).normal(0, 0.05, found.reference.shape).astype(np.float32)
    evaluation = evaluate_step(found, noisy, GATE)
    assert (evaluation.metric, evaluation.verdict) == ("mAP", "pass")
    assert evaluation.value_reference == pytest.approx(average_precision_score(found.targets, found.reference))
    assert evaluation.value == pytest.approx(average_precision_score(found.targets, noisy))
    assert evaluation.bound_points < evaluation.change_points < 1
    assert evaluation.ece is not None and evaluation.temperature_fit is None


def test_few_images_are_inconclusive_and_the_number_needed_is_reported() -> None:
    found = evaluation_set(40)
    evaluation = evaluate_step(found, found.reference, GATE)
    assert evaluation.verdict == "inconclusive" and evaluation.change_points == 0
    assert evaluation.images_needed is not None and 200 < evaluation.images_needed < 400
    assert "mAP changed by +0.00 points" in evaluation.reasons[0] and "on 40 images" in evaluation.reasons[0]
    in_groups = evaluate_step(evaluation_set(600, groups=30), evaluation_set(600).reference, GATE)
    assert in_groups.verdict == "inconclusive"  # 30 groups are as little as 30 images


def test_a_label_that_is_lost_fails_and_so_do_scores_that_moved() -> None:
    found = evaluation_set(600)
    swapped = found.reference[:, [1, 0, 2]]
    evaluation = evaluate_step(found, swapped, GATE)
    assert evaluation.verdict == "fail" and any(reason.startswith("mAP fell by") for reason in evaluation.reasons)
    assert evaluation.right_to_wrong > 200
    moved = evaluate_step(found, found.reference * 4, GATE)  # the same order, so the same mAP
    assert moved.change_points == 0 and moved.verdict == "fail" and "confidences moved" in moved.reasons[0]
    broken = found.reference.copy()
    broken[3] = np.nan
    assert "1 of 600 images gave NaN" in evaluate_step(found, broken, GATE).reasons[0]


def test_without_labels_the_references_predictions_are_taken_as_the_truth() -> None:
    found = evaluation_set(600, labelled=False)
    evaluation = evaluate_step(found, found.reference, GATE)
    assert (evaluation.value_reference, evaluation.verdict, evaluation.ece) == (1.0, "pass", None)
    none = replace(found, label_logits=np.full(3, 99.0))
    with pytest.raises(DataError, match="no evaluation image has a label, so there is no mAP"):
        evaluate_step(none, found.reference, GATE)


def test_an_int8_bundle_of_several_labels_is_gated_by_map_and_verifies(trained: Exportable, tmp_path: Path) -> None:
    data = trained.data
    assert data is not None
    several = replace(data.split, multi_label=True)
    training = Training("patches", 1.0, "0", thresholds=Thresholds(per_class=(0.6, 0.5, 0.5, 0.7)))
    exportable = replace(
        trained,
        scores="sigmoid",
        multi_label=True,
        training=training,
        data=LabelledData(several, data.called, data.count_use),
    )
    options = ExportOptions(("onnx",), "int8", output=tmp_path, int8=Int8Options(gate=AccuracyGate(5.0)))
    (made,) = export(exportable, options)
    bundle = Bundle.open(made.path)
    manifest, ladder = bundle.manifest, bundle.manifest.ladder
    assert manifest.multi_label and manifest.thresholds == training.thresholds
    assert manifest.weights_precision == "int8" and ladder is not None and ladder.floor.metric == "mAP"
    step = ladder.step(ladder.chosen)
    assert step.holds and step.judged is not None and step.judged.metric == "mAP" and step.judged.labelled
    assert ladder.final is not None and (ladder.final.metric, ladder.final.images) == ("mAP", TEST * len(LABELS))
    assert verify(bundle).verdict == "pass"
