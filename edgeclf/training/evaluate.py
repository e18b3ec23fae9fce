"""`evaluate`: a run or a bundle on labelled images, from paths to a report with its plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeclf.data.held_out import HeldOut, open_held_out
from edgeclf.evaluation.inference import images_of
from edgeclf.evaluation.mistakes import explain_mistakes
from edgeclf.evaluation.operating_point import place_of, with_operating_point
from edgeclf.evaluation.report import evaluate_bundle, write_evaluation_report
from edgeclf.training.adaptation.leakage import seen_by_run
from edgeclf.training.evaluate_options import Evaluated, EvaluateOptions
from edgeclf.training.run.evaluate import evaluate_run, known_splits, run_scorer, set_operating_point
from edgeclf.training.run.run import Run
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy import build
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress


def evaluate(
    subject: str | Path,
    data: str | Path | None = None,
    options: EvaluateOptions = EvaluateOptions(),
    *,
    progress: Progress = SILENT,
    warn: Callable[[str], None] = lambda sentence: None,
) -> Evaluated:
    """How good a run or a bundle is on labelled images, as `edgeclf eval` finds it.

    Parameters
    ----------
    subject
        The folder of a run, a bundle, or the .tar that `edgeclf pack` made.
    data
        A folder of classes, a CSV, or the manifest that `edgeclf data split` wrote. None: the run's own.
    progress
        Shows progress.
    warn
        Gets a sentence where an engine is built again.

    Raises
    ------
    UsageError
        The folder of the report exists, a bundle without data, or no image in the split.
    DataError
        The classes differ, no image can be read, or the use of test images can't be recorded.
    GateError
        No threshold reaches the operating point.
    """
    source = None if data is None else Path(data)
    if Run.is_at(Path(subject)):
        return _evaluate_run(Run.open(Path(subject)), source, options, progress)
    if not Path(subject).exists():
        raise DataError(f"{subject}: no such run or bundle; `edgeclf runs` lists those in a folder")
    bundle = Bundle.open(subject)
    if options.rebuild_if_stale:
        bundle = build.rebuild_if_stale(bundle, options.session, progress)
    return _evaluate_bundle(bundle, source, options, progress)


def _evaluate_bundle(bundle: Bundle, data: Path | None, options: EvaluateOptions, progress: Progress) -> Evaluated:
    wanted, point = options.wanted, None
    strangers = options.unknown_images(progress)
    folder = options.folder_for(bundle.path if wanted is None else place_of(bundle, wanted))
    if data is None:
        raise UsageError("name the labelled images to evaluate the bundle on: edgeclf eval BUNDLE DATA")
    origin = bundle.manifest.provenance.data_sha256
    held_out = open_held_out(
        data,
        options.seed,
        whole=wanted is None and options.split in ("test", "all"),  # thresholds need images of their own
        trained_on=(origin,) if origin else (),
        labels=(bundle.manifest.labels or None) if options.present else None,
        several_labels="known",
        progress=progress,
    )
    _check_data_task(held_out.data, data, bundle.manifest.multi_label, f"{bundle.path} predicts")
    if wanted is not None:
        bundle, point = with_operating_point(
            bundle,
            held_out.data,
            wanted,
            per_class=options.per_class,
            options=options.session,
            batch_size=options.batch_size,
            force=options.force,
            progress=progress,
        )
    report = evaluate_bundle(
        bundle,
        held_out.data,
        options.split,
        options=options.session,
        batch_size=options.batch_size,
        origin=held_out.origin,
        present=options.present,
        unknown=strangers,
        progress=progress,
    )
    pictures: Mapping[str, bytes] = {}
    if options.explain:
        with Classifier.open(bundle, options.session) as classifier:
            pixels = classifier.bundle.manifest.pixels
            assert pixels is not None  # a classifier has them
            report, pictures = explain_mistakes(report, held_out.data, pixels, classifier.scores, progress)
    written = write_evaluation_report(report, held_out.data, folder, pictures=pictures, force=options.force)
    return Evaluated(bundle.path, report, folder, tuple(written), point)


def _evaluate_run(run: Run, data: Path | None, options: EvaluateOptions, progress: Progress) -> Evaluated:
    folder, wanted = options.folder_for(run.path), options.wanted
    if run.without_labels and (data is None or wanted is not None):
        advice = f"name labelled images: edgeclf eval {run.path} DATA"
        if wanted is not None:
            advice = "export it, and choose the operating point of its bundle: edgeclf eval BUNDLE DATA"
        raise UsageError(
            f"{run.path} was trained without labels: those of its own images are its teacher's predictions; {advice}"
        )
    strangers = options.unknown_images(progress)
    point = None if wanted is None else set_operating_point(run, wanted, per_class=options.per_class, progress=progress)
    held_out = HeldOut(run.data(), "own")
    if data is not None:
        held_out = open_held_out(
            data,
            options.seed,
            whole=options.split in ("test", "all"),
            trained_on=(run.outcome().data_sha256,),
            known=known_splits(run),
            labels=run.data().classes if options.present else None,
            several_labels="known",
            progress=progress,
        )
        _check_data_task(held_out.data, data, run.data().multi_label, f"{run.path} was trained for")
    report = evaluate_run(
        run,
        held_out.data,
        options.split,
        batch_size=options.batch_size,
        origin=held_out.origin,
        present=options.present,
        unknown=strangers,
        progress=progress,
    )
    pictures: Mapping[str, bytes] = {}
    if options.explain:
        report, pictures = explain_mistakes(report, held_out.data, run.exportable().pixels, run_scorer(run), progress)
    written = write_evaluation_report(report, held_out.data, folder, pictures=pictures, force=options.force)
    seen = seen_by_run(run, images_of(held_out.data, options.split))
    return Evaluated(run.path, report, folder, tuple(written), point, len(run.left_out()), seen)


def _check_data_task(data: DataSplit, source: Path, several: bool, subject: str) -> None:
    """Raises UsageError where images have several labels and the subject ("… predicts") has one, or the other way."""
    if data.multi_label != several:
        kinds = ("one label", "several labels")
        raise UsageError(
            f"{source} has {kinds[data.multi_label]} an image, and {subject} {kinds[several]}; "
            "evaluate it on data of its own kind"
        )
