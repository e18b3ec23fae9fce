"""`edgeclf eval`: how good a run or a bundle is on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.evaluation_tables import NONE, show_evaluation
from edgeclf.verbs.shared.opening import say_loudly, session_options
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    BatchSize,
    ClassesToHave,
    ComputePrecision,
    Device,
    Force,
    RebuildIfStale,
    Split,
    SplitSeed,
    Threads,
    shell_word,
)
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError

if TYPE_CHECKING:
    from edgeclf.evaluation.label_thresholds import LabelThresholds
    from edgeclf.evaluation.thresholds import OperatingPoint
    from edgeclf.training.evaluate_options import Evaluated


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE",
            help="Training run or bundle to evaluate.",
            autocompletion=completion.runs_and_bundles,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Labelled images: a folder with one subfolder per class, a CSV file, or a split from `edgeclf data "
            "split`; a run knows its own. Without splits all of it is used, unless the model was trained on it.",
        ),
    ] = None,
    split: Split = "test",
    classes: ClassesToHave = "all",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.", show_default="evals/NAME-SPLIT"),
    ] = None,
    seed: SplitSeed = 0,
    batch_size: BatchSize = 16,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURE[=P]",
            help="Operating point to choose decision thresholds for, on validation images, such as precision=0.95, "
            "recall=0.9, or unknown=0.01: images like no class are unknown, by their energy (and their features, where "
            "the bundle gives them), and so may be that share of images of the classes. Where images have several "
            "labels, each gets a threshold, also for f1, the highest. The thresholds are stored in the run, or in a "
            "new bundle.",
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="One threshold per class, for --operating-point.")
    ] = False,
    unknown: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images of none of the classes: how well they are told apart from those evaluated (AUROC of the "
            "energy, and of features that the bundle has), and how many are missed at the thresholds.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show which parts of the image the surest wrong predictions rest on; takes seconds each."
        ),
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a run or a bundle on labelled images.

    Measures accuracy, F1, AUC and calibration, with intervals. Writes report.json, report.html and plots: confusion
    matrix, ROC and precision-recall curves, reliability diagram, and the wrong predictions of highest confidence.
    Where images have several labels: mAP, F1, exact match and Hamming loss, and a table of its labels.
    Classes are matched by name. Every use of the test images is counted beside the bundle, and shown.

    \b
    Examples:
      edgeclf eval runs/cats --operating-point precision=0.95
      edgeclf eval runs/cats --operating-point unknown=0.01 --unknown not-cats/
      edgeclf eval bundles/cats-onnx-fp32 held-out/
      edgeclf eval bundles/imagenet-onnx-fp32 held-out/ --classes present
      edgeclf eval bundles/cats-hog-svm-fp32 photos/ --operating-point recall=0.9
      edgeclf eval bundles/cats-onnx-fp32 split.json --split val -o evals/before
    """
    from edgeclf.evaluation.label_thresholds import LabelThresholds
    from edgeclf.evaluation.report import report_document
    from edgeclf.training.evaluate import evaluate as evaluate_subject
    from edgeclf.training.evaluate_options import EvaluateOptions

    options = EvaluateOptions(
        split=split,
        present=classes == "present",
        seed=seed,
        batch_size=batch_size,
        session=session_options(device, threads, compute_precision),
        rebuild_if_stale=rebuild_if_stale,
        operating_point=operating_point,
        per_class=per_class,
        unknown=unknown,
        explain=explain,
        output=output,
        force=force,
    )
    found = evaluate_subject(subject, data, options, progress=Bars(), warn=say_loudly)
    if isinstance(found.operating_point, LabelThresholds):
        _say_label_thresholds(found.operating_point, str(found.subject))
    elif found.operating_point is not None:
        _say_point(found.operating_point, str(found.subject))
    if found.unusable:
        say(f"{count(found.unusable, 'image')} of its split could not be used in its training; left out here, too")
    if as_json:
        written = [str(path) for path in found.written]
        write_json("eval", {"report": report_document(found.report), "written": written})
    else:
        show_evaluation(found.report)
    if found.warning is not None:
        say(f"warning: {found.warning}", style="yellow")
    _finish(found)


def _say_point(point: OperatingPoint, kept_in: str) -> None:
    precision = NONE if point.precision is None else f"{point.precision:.3f}"
    say(
        f"thresholds for {point.wanted} on {count(point.images, 'validation image')} (selected on these): "
        f'{point.answered:.1%} are not "unknown", {precision} of them right; stored in {kept_in}'
    )
    if point.caution is not None:
        say(f"warning: {point.caution}", style="yellow")
    if point.missed:
        say(f"warning: no threshold reaches it for {len(point.missed)} of the classes", style="yellow")


def _say_label_thresholds(chosen: LabelThresholds, kept_in: str) -> None:
    say(
        f"thresholds for {chosen.wanted} of each label on {count(chosen.images, 'validation image')} (selected on "
        f"these): {chosen.range_in_words}; stored in {kept_in}"
    )
    for caution in chosen.cautions:
        say(f"warning: {caution}", style="yellow")


def _finish(found: Evaluated) -> None:
    report, subject = found.report, str(found.subject)
    if report.test_use is not None:
        say(str(report.test_use), style="bold")
    if report.other_data:
        say(
            f"the {report.subject.kind} was trained on another split than this: where its training images are among "
            "these, the figures are too good; give eval the same data and seed, or its split manifest",
            style="yellow",
        )
    plots = [path.name for path in found.written if not path.name.startswith("mistake-")]
    say(f"wrote {found.folder}: {', '.join(plots)}", style="dim")
    strangers = report.unknown
    if strangers is not None and strangers.false_alarms is None:
        say(
            "it has no thresholds, so nothing is unknown to it; --operating-point unknown=0.01 chooses one",
            style="yellow",
        )
    for each in (*report.unreadable, *(strangers.unreadable if strangers else ())):
        say(f"edgeclf: {each.path}: {each.error}", style="red")
    verb = "export" if report.subject.kind == "run" else "inspect"
    suggest(f"edgeclf {verb} {shell_word(subject)}")
    if report.unreadable:
        total = count(report.evaluation.images + len(report.unreadable), "image")
        raise DataError(f"{len(report.unreadable)} of {total} could not be read and are not in the figures above")
