"""`evaluate`, for a run whose images may have several labels; and the refusal of data of the other kind."""

from __future__ import annotations

from pathlib import Path

from edgeclf.data.held_out import HeldOut, open_held_out
from edgeclf.evaluation.inference import images_of
from edgeclf.evaluation.report import write_evaluation_report
from edgeclf.training.adaptation.leakage import seen_by_run
from edgeclf.training.evaluate_options import Evaluated, EvaluateOptions
from edgeclf.training.run.evaluate import known_splits
from edgeclf.training.run.evaluate_labels import evaluate_label_run, set_label_thresholds
from edgeclf.training.run.run import Run
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import Progress


def evaluate_several(run: Run, data: Path | None, options: EvaluateOptions, progress: Progress) -> Evaluated:
    """Of a run whose images may have several labels."""
    for option, given in (("--unknown", options.unknown), ("--explain", options.explain)):
        if given:
            raise UsageError(f"{option} does not know several labels an image yet; leave it out")
    folder, wanted = options.folder_for(run.path), options.wanted
    point = None if wanted is None else set_label_thresholds(run, wanted, progress=progress)
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
        check_data_task(held_out.data, data, run)
    report = evaluate_label_run(
        run, held_out.data, options.split, batch_size=options.batch_size, origin=held_out.origin, progress=progress
    )
    written = write_evaluation_report(report, held_out.data, folder, force=options.force)
    seen = seen_by_run(run, images_of(held_out.data, options.split))
    return Evaluated(run.path, report, folder, tuple(written), point, len(run.left_out()), seen)


def check_data_task(data: DataSplit, source: Path, run: Run) -> None:
    """Raises UsageError where images have several labels and the run was trained for one, or the other way round."""
    trained = run.data().multi_label
    if data.multi_label != trained:
        kinds = ("one label", "several labels")
        raise UsageError(
            f"{source} has {kinds[data.multi_label]} an image, and {run.path} was trained for {kinds[trained]}; "
            "evaluate it on data of its own kind"
        )
