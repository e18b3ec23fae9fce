"""Evaluates a run whose images may have several labels, and chooses the thresholds of its labels."""

from __future__ import annotations

from dataclasses import replace

from edgeclf.data.usable import leave_out
from edgeclf.evaluation.evaluation_report import Subject
from edgeclf.evaluation.inference import count_test_images, images_of, match_labels
from edgeclf.evaluation.label_thresholds import LabelThresholds, fit_label_thresholds
from edgeclf.evaluation.multilabel_report import MultiLabelReport, evaluate_label_predictions
from edgeclf.evaluation.thresholds import Wanted
from edgeclf.training.run.evaluate import known_splits, predict_with_run
from edgeclf.training.run.run import MODEL, Run
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import label_targets
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.progress import SILENT, Progress


def evaluate_label_run(
    run: Run,
    data: DataSplit,
    split: str = "test",
    *,
    batch_size: int = 16,
    origin: Origin | None = None,
    progress: Progress = SILENT,
) -> MultiLabelReport:
    """How good a run's predictions of labels are; a use of test images is recorded in the run first.

    Raises as `evaluate_run` does for one label an image.
    """
    outcome, exportable = run.outcome(), run.exportable(several_labels="known")
    own = outcome.data_sha256 == data.digest
    images = images_of(leave_out(data, run.left_out()) if own else data, split)
    match_labels(exportable.labels, data.classes, run.name, data.root)
    digest = digest_state(run.weights())
    use = count_test_images(run.path, images, subject=digest, data_sha256=data.digest, verb="eval")
    predictions = predict_with_run(exportable, images, batch_size, progress)
    subject = Subject(
        kind="run",
        name=run.name,
        digest=digest,
        target="pytorch",
        weights_precision="fp32",
        classes=exportable.labels,
        scores="sigmoid",
        temperature=outcome.temperature,
        thresholds=outcome.thresholds,
    )
    known = known_splits(run)
    there = [known.get(image.sha256) for image in predictions.images]
    return evaluate_label_predictions(
        predictions,
        subject,
        data,
        split,
        use=use,
        other_data=not own and split != "train" and "train" in there,
        origin=origin or ("own" if own else "given"),
        chosen=there.count("val"),
    )


def set_label_thresholds(run: Run, wanted: Wanted, *, progress: Progress = SILENT) -> LabelThresholds:
    """Chooses the thresholds on the run's validation images and keeps them in the run."""
    outcome, exportable = run.outcome(), run.exportable(several_labels="known")
    predictions = predict_with_run(exportable, run.usable_data().of("val"), 16, progress)
    chosen = fit_label_thresholds(
        to_scores(predictions.logits, "sigmoid", outcome.temperature),
        label_targets(predictions.images, exportable.labels),
        exportable.labels,
        wanted,
    )
    run.write_json(MODEL, to_json(replace(outcome, thresholds=Thresholds(per_class=chosen.values))))
    return chosen
