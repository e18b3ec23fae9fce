"""`edgeclf eval`: how good a bundle's answers to labelled images are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import bar, count, grid, say, show, styled, suggest, track, write_json
from edgeclf.verbs.options import (
    OWN_DEVICE,
    AsJson,
    ComputePrecision,
    Device,
    Force,
    RebuildIfStale,
    Threads,
    open_bundle,
    session_options,
    shell_word,
)
from edgeclf_runtime.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from edgeclf.judging.calibration import OperatingPoint
    from edgeclf.judging.report import Judgement
    from edgeclf_benchmarks.statistics.intervals import Interval

_MOST_ROWS, _MOST_CONFUSIONS = 30, 5
_NONE = "n/a"


def evaluate(
    subject: Annotated[str, typer.Argument(metavar="RUN|BUNDLE", help="A training run, or a bundle.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="A folder of classes, a CSV, or the manifest that data split wrote; a run knows its own.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="test, val, train or all.")] = "test",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the report.", show_default="evals/BUNDLE-SPLIT"),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="For the split of data that has none of its own.")] = 0,
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
      edgeclf eval bundles/cats-onnx-fp32 photos/
      edgeclf eval bundles/cats-hog-svm-fp32 photos/ --operating-point recall=0.9
      edgeclf eval bundles/cats-onnx-fp32 split.json --split val -o evals/before
    """
    from edgeclf.data.split import open_data
    from edgeclf.judging.asking import items_of
    from edgeclf.judging.calibration import parse_wanted
    from edgeclf.judging.operating_point import place_of, with_operating_point
    from edgeclf.judging.report import judge_bundle, report_document, write_judgement
    from edgeclf.training.judge import judge_run, set_operating_point
    from edgeclf.training.leakage import seen_by_run
    from edgeclf.training.run import Run

    options = session_options(device, threads, compute_precision)
    wanted = None if operating_point is None else parse_wanted(operating_point)
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
        manifest = open_data(data, seed, track=track)
        if wanted is not None:
            bundle, point = with_operating_point(
                bundle,
                manifest,
                wanted,
                per_class=per_class,
                options=options,
                batch_size=batch_size,
                force=force,
                track=track,
            )
            _say_point(point, subject)
        judged = judge_bundle(bundle, manifest, split, options=options, batch_size=batch_size, track=track)
    elif run is not None:
        if wanted is not None:
            _say_point(set_operating_point(run, wanted, per_class=per_class, track=track), subject)
        manifest = run.data() if data is None else open_data(data, seed, track=track)
        judged = judge_run(run, manifest, split, batch_size=batch_size, track=track)
    written = write_judgement(judged, manifest, folder, force=force)
    if as_json:
        write_json("eval", {"report": report_document(judged), "written": [str(path) for path in written]})
    else:
        _show(judged)
    if run is not None and (leak := seen_by_run(run, items_of(manifest, split))):
        say(f"warning: {leak}", style="yellow")
    _finish(judged, folder, [path.name for path in written], subject)


def _say_point(point: OperatingPoint, kept_in: str) -> None:
    precision = _NONE if point.precision is None else f"{point.precision:.3f}"
    say(
        f"thresholds for {point.wanted} on {count(point.images, 'validation image')} (selected on these): "
        f"{point.answered:.1%} answered, {precision} of them right; kept in {kept_in}"
    )
    if point.missed:
        say(f"warning: for {len(point.missed)} of the classes no threshold reaches it", style="yellow")


def _show(judged: Judgement) -> None:
    figures = judged.evaluation
    subject = judged.subject
    about = f"{judged.split} images of {judged.data}: {count(figures.images, 'image')}, {len(figures.classes)} classes"
    if subject.kind == "run" and judged.split != "test":
        about += " (the best epoch, and what was fitted, were selected on validation images)"
    table = grid()

    def row(name: str, value: float | None, interval: Interval | None = None, remark: str = "") -> None:
        bounds = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        remark = remark or (f"95 %: {interval.method}" if interval else "")
        table.add_row(styled(name, "cyan"), _share(value), bounds, styled(remark, "dim"))

    row("top-1", figures.top1, figures.top1_interval)
    row("top-5", figures.top5, remark="" if figures.top5 is not None else "5 classes or fewer")
    row("macro-F1", figures.macro_f1, figures.macro_f1_interval)
    missing = sum(each.support == 0 for each in figures.per_class)
    remark = f"{missing} of {len(figures.classes)} classes have no image" if missing else ""
    row("macro AUC", figures.macro_auc, figures.macro_auc_interval, remark)
    margins = "margins are no probabilities" if figures.scores == "margin" else ""
    row("ECE", figures.ece, remark=margins)
    row("NLL", figures.nll, remark=margins)
    if judged.answered is not None:
        row("answered", judged.answered, remark='not "unknown" by the bundle\'s thresholds')
        row("right of answered", judged.right_of_answered)
    show(
        styled(subject.name, "bold") + styled(f"  {subject.target}, {judged.compute_precision}", "not bold dim"),
        styled(about, "dim"),
        "",
        table,
        "",
        _classes(judged),
    )
    if confused := _most_confused(judged):
        show("", styled(f"most confused: {'; '.join(confused)}"))


def _classes(judged: Judgement) -> Table:
    """A line a class; where they are many, those with the smallest F1."""
    table = grid()
    table.add_row(*(styled(heading, "dim") for heading in ("class", "images", "precision", "recall", "F1", "AUC", "")))
    per_class = judged.evaluation.per_class
    shown = sorted(per_class, key=lambda each: each.f1 if each.f1 is not None else 2.0)[:_MOST_ROWS]
    for each in per_class if len(per_class) <= _MOST_ROWS else shown:
        figures = (_share(value) for value in (each.precision, each.recall, each.f1, each.auc))
        table.add_row(styled(each.label), str(each.support), *figures, styled(bar(each.f1 or 0.0, 16), "cyan"))
    if len(per_class) > _MOST_ROWS:
        table.add_row(styled(f"… the {_MOST_ROWS} of {len(per_class)} classes with the smallest F1", "dim"))
    return table


def _most_confused(judged: Judgement) -> list[str]:
    figures = judged.evaluation
    pairs = [
        (images, figures.classes[row], figures.classes[column])
        for row, counts in enumerate(figures.confusion)
        for column, images in enumerate(counts)
        if row != column and images
    ]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:_MOST_CONFUSIONS]
    return [f"{right} taken for {answer} ({images})" for images, right, answer in worst]


def _finish(judged: Judgement, folder: Path, names: Sequence[str], subject: str) -> None:
    if judged.test_use is not None:
        say(str(judged.test_use), style="bold")
    if judged.other_data:
        say(
            "the bundle was trained on another split than this: where its training images are among these, the "
            "figures flatter; give eval the same data and seed, or its split manifest",
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


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
