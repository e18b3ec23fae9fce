"""Evaluates a run with its own PyTorch network, before export, and chooses thresholds on its validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeclf.data.usable import leave_out
from edgeclf.evaluation.evaluation_report import EvaluationReport, Subject
from edgeclf.evaluation.inference import Predictions, count_test_images, images_of, match_labels, predict
from edgeclf.evaluation.label_thresholds import LabelThresholds
from edgeclf.evaluation.operating_point import choose_thresholds
from edgeclf.evaluation.report import evaluate_predictions
from edgeclf.evaluation.thresholds import OperatingPoint, Wanted
from edgeclf.evaluation.unknown import check_unknown
from edgeclf.explanation.rise import Scorer
from edgeclf.training.run.run import MODEL, Run
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, Split
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.progress import SILENT, Progress


def evaluate_run(
    run: Run,
    data: DataSplit,
    split: str = "test",
    *,
    batch_size: int = 16,
    origin: Origin | None = None,
    present: bool = False,
    unknown: Sequence[LabelledImage] = (),
    progress: Progress = SILENT,
) -> EvaluationReport:
    """How good a run's predictions are; a use of test images is recorded in the run first. Raises as `evaluate_bundle`.

    The data has as many labels an image, one or several, as the run was trained with. Which images trained it, and
    which selected its best epoch, is known by their bytes, wherever they lie now.
    """
    outcome, exportable = run.outcome(), run.exportable(several_labels="known")
    own = outcome.data_sha256 == data.digest
    images = images_of(leave_out(data, run.left_out()) if own else data, split)
    match_labels(exportable.labels, data.classes, run.name, data.root)
    check_unknown(unknown, (*data.images, *run.data().images), exportable.scores)
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
        scores="sigmoid" if data.multi_label else "softmax",
        temperature=outcome.temperature,
        thresholds=outcome.thresholds,
        temperature_fit=outcome.temperature_fit,
    )
    known = known_splits(run)
    there = [known.get(image.sha256) for image in predictions.images]
    other_data = not own and split != "train" and "train" in there
    return evaluate_predictions(
        predictions,
        subject,
        data,
        split,
        use=use,
        other_data=other_data,
        origin=origin or ("own" if own else "given"),
        chosen=there.count("val"),
        present=present,
        unknown=predict_with_run(exportable, unknown, batch_size, progress) if unknown else None,
    )


def known_splits(run: Run) -> dict[str, Split]:
    """SHA-256 of each image of the run's data -> its split; images without labels trained it, too."""
    unlabelled = run.unlabelled()
    taught: dict[str, Split] = {} if unlabelled is None else {image.sha256: "train" for image in unlabelled.images}
    return taught | {image.sha256: image.split for image in run.data().images if image.split is not None}


def run_scorer(run: Run) -> Scorer:
    """(N, H, W, 3) uint8 from the run's Pixels -> (N, classes) probabilities of its own network."""
    outcome, exportable = run.outcome(), run.exportable()
    return lambda batch: to_scores(exportable.run_reference(batch), exportable.scores, outcome.temperature)


def set_operating_point(
    run: Run, wanted: Wanted, *, per_class: bool = False, progress: Progress = SILENT
) -> OperatingPoint | LabelThresholds:
    """Chooses thresholds on the run's validation images and keeps them in the run, for its bundles to carry.

    Raises GateError where none reaches what is wanted of images of one label each; the run keeps what it had.
    """
    outcome = run.outcome()
    exportable = run.exportable(several_labels="known")
    data = run.usable_data()
    point = choose_thresholds(
        predict_with_run(exportable, data.of("val"), 16, progress),
        exportable.labels,
        wanted,
        multi_label=data.multi_label,
        scores="softmax",
        temperature=outcome.temperature,
        least=outcome.thresholds.per_class,
        per_class=per_class,
    )
    run.write_json(MODEL, to_json(replace(outcome, thresholds=point.added_to(outcome.thresholds))))
    return point


def predict_with_run(
    exportable: Exportable, images: Sequence[LabelledImage], batch_size: int, progress: Progress
) -> Predictions:
    """The logits of a run's own network."""
    classes = len(exportable.labels)
    return predict(
        exportable.run_reference, exportable.pixels, classes, images, batch_size=batch_size, progress=progress
    )
