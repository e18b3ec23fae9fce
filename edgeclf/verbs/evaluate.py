"""`edgeclf eval`: how good a bundle's answers to labelled images are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import say, suggest, track, write_json
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.evaluation_tables import NONE, show_evaluation
from edgeclf.verbs.shared.options import (
    OWN_DEVICE,
    AsJson,
    ClassesToHave,
    ComputePrecision,
    Device,
    Force,
    RebuildIfStale,
    Threads,
    open_bundle,
    session_options,
    shell_word,
    some_are_enough,
)
from edgeclf.wording import count
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeclf.evaluation.judgement import Judgement
    from edgeclf.evaluation.thresholds import OperatingPoint


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN|BUNDLE", help="A training run, or a bundle.", autocompletion=completion.runs_and_bundles
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="A folder of classes, a CSV, or the manifest that data split wrote; a run knows its own. "
            "Without splits all of it is evaluated, unless it is what was trained on.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="test, val, train or all.")] = "test",
    classes: ClassesToHave = "all",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.", show_default="evals/BUNDLE-SPLIT"),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the training's split, for data without one.")] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, metavar="N", help="Images handed to the engine at a time.")
    ] = 16,
    device: Device = OWN_DEVICE,
    threads: Threads = None,
    compute_precision: ComputePrecision = None,
    rebuild_if_stale: RebuildIfStale = False,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURE=P",
            help="First choose thresholds on validation images, as precision=0.95; kept in the run or a new bundle.",
        ),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="With that: a threshold for each class.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Judge a run or a bundle on labelled images: accuracy, F1, AUC, calibration, with intervals.

    Writes report.json and pictures: confusion matrix, ROC and precision-recall curves, reliability diagram, the surest
    wrong answers. Classes are matched by name. Each look at test images is counted beside the bundle, and shown.

    \b
    Examples:
      edgeclf eval runs/cats --operating-point precision=0.95
      edgeclf eval bundles/cats-onnx-fp32 held-out/
      edgeclf eval bundles/imagenet-onnx-fp32 held-out/ --classes present
      edgeclf eval bundles/cats-hog-svm-fp32 photos/ --operating-point recall=0.9
      edgeclf eval bundles/cats-onnx-fp32 split.json --split val -o evals/before
    """
    from edgeclf.data.held_out import HeldOut, open_held_out
    from edgeclf.evaluation.inference import check_split, images_of
    from edgeclf.evaluation.operating_point import place_of, with_operating_point
    from edgeclf.evaluation.report import judge_bundle, report_document, write_judgement
    from edgeclf.evaluation.thresholds import parse_wanted
    from edgeclf.training.inputs.leakage import seen_by_run
    from edgeclf.training.run.evaluate import judge_run, known_splits, set_operating_point
    from edgeclf.training.run.run import Run

    options = session_options(device, threads, compute_precision)
    wanted = None if operating_point is None else parse_wanted(operating_point)
    present = some_are_enough(classes)
    check_split(split)
    run = Run.open(Path(subject)) if Run.is_at(Path(subject)) else None
    bundle = open_bundle(subject, options, rebuild_if_stale=rebuild_if_stale) if run is None else None
    if bundle is not None and wanted is not None:
        subject = str(place_of(bundle, wanted))  # the bundle that will be judged
    folder = output or Path("evals", f"{Path(subject).resolve().name.removesuffix('.tar')}-{split}")
    if folder.exists() and not force:
        raise UsageError(f"{folder} exists; give --force to replace it, or another --output")
    if bundle is not None:
        if data is None:
            raise UsageError("name the labelled images to judge the bundle on: edgeclf eval BUNDLE DATA")
        origin = bundle.manifest.provenance.data_sha256
        held_out = open_held_out(
            data,
            seed,
            whole=wanted is None and split in ("test", "all"),  # thresholds want images of their own
            trained_on=(origin,) if origin else (),
            labels=(bundle.manifest.labels or None) if present else None,
            track=track,
        )
        if wanted is not None:
            bundle, point = with_operating_point(
                bundle,
                held_out.data,
                wanted,
                per_class=per_class,
                options=options,
                batch_size=batch_size,
                force=force,
                track=track,
            )
            _say_point(point, subject)
        judged = judge_bundle(
            bundle,
            held_out.data,
            split,
            options=options,
            batch_size=batch_size,
            origin=held_out.origin,
            present=present,
            track=track,
        )
    elif run is not None:
        if wanted is not None:
            _say_point(set_operating_point(run, wanted, per_class=per_class, track=track), subject)
        held_out = HeldOut(run.data(), "own")
        if data is not None:
            held_out = open_held_out(
                data,
                seed,
                whole=split in ("test", "all"),
                trained_on=(run.outcome().data_sha256,),
                known=known_splits(run),
                labels=run.data().classes if present else None,
                track=track,
            )
        judged = judge_run(
            run, held_out.data, split, batch_size=batch_size, origin=held_out.origin, present=present, track=track
        )
        if left_out := run.left_out():
            say(f"{count(len(left_out), 'image')} of its split could not be used in its training; left out here, too")
    manifest = held_out.data
    written = write_judgement(judged, manifest, folder, force=force)
    if as_json:
        write_json("eval", {"report": report_document(judged), "written": [str(path) for path in written]})
    else:
        show_evaluation(judged)
    if run is not None and (leak := seen_by_run(run, images_of(manifest, split))):
        say(f"warning: {leak}", style="yellow")
    _finish(judged, folder, [path.name for path in written], subject)


def _say_point(point: OperatingPoint, kept_in: str) -> None:
    precision = NONE if point.precision is None else f"{point.precision:.3f}"
    say(
        f"thresholds for {point.wanted} on {count(point.images, 'validation image')} (selected on these): "
        f"{point.answered:.1%} answered, {precision} of them right; kept in {kept_in}"
    )
    if point.caution is not None:
        say(f"warning: {point.caution}", style="yellow")
    if point.missed:
        say(f"warning: for {len(point.missed)} of the classes no threshold reaches it", style="yellow")


def _finish(judged: Judgement, folder: Path, names: Sequence[str], subject: str) -> None:
    if judged.test_use is not None:
        say(str(judged.test_use), style="bold")
    if judged.other_data:
        say(
            f"the {judged.subject.kind} was trained on another split than this: where its training images are among "
            "these, the figures flatter; give eval the same data and seed, or its split manifest",
            style="yellow",
        )
    say(f"wrote {folder}: {', '.join(names)}", style="dim")
    for each in judged.unreadable:
        say(f"edgeclf: {each.path}: {each.error}", style="red")
    verb = "export" if judged.subject.kind == "run" else "inspect"
    suggest(f"edgeclf {verb} {shell_word(subject)}")
    if judged.unreadable:
        total = count(judged.evaluation.images + len(judged.unreadable), "image")
        raise DataError(f"{len(judged.unreadable)} of {total} could not be read and count for nothing above")
