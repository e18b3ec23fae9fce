"""An evaluation as plots: confusion matrix, ROC and precision-recall curves, reliability diagram, worst errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeclf.console import inert
from edgeclf.evaluation.plot_style import GREY, STYLE
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.metrics.metrics import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgeclf.evaluation.evaluation_report import EvaluationReport, Mistake
    from edgeclf_runtime.images.data_split import DataSplit

_BLUE, _ORANGE, _RED = "#2b6cb0", "#dd8a2f", "#b3261e"
_DPI = 130
_MOST_NUMBERED, _MOST_NAMED = 25, 60  # classes of a confusion matrix whose counts, whose names fit
_LONGEST_NAME = 20
_COLUMNS = 6
_THUMBNAIL_PX = 160


def draw_plots(report: EvaluationReport, data: DataSplit, folder: Path) -> list[str]:
    """Writes the plots that apply as PNG into `folder`; returns their names."""
    try:
        import matplotlib
    except ImportError as error:
        raise missing_engine("matplotlib", "baseline", error) from error
    figures: dict[str, Callable[[], Figure]] = {}
    found = report.evaluation
    if isinstance(found, Evaluation):
        figures["confusion.png"] = partial(draw_confusion, report, found)
    if report.curves:
        figures["curves.png"] = partial(draw_curves, report)
    if isinstance(found, Evaluation) and found.reliability:
        figures["reliability.png"] = partial(draw_reliability, report, found)
    if report.worst:
        figures["errors.png"] = partial(draw_errors, report, data)
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # shown as a box
        for name, draw in figures.items():
            draw().savefig(folder / name, dpi=_DPI, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    return list(figures)


def draw_confusion(report: EvaluationReport, figures: Evaluation) -> Figure:
    """Rows are the right classes, columns the predictions; the colour is the share of the row."""
    counts = np.array(figures.confusion)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(0.5 * classes + 1.5, 3.6), 14.0)
    figure = _figure((side + 1.2, side))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format=_percent())
    bar.outline.set_visible(False)
    bar.set_label("share of the right class")
    if classes <= _MOST_NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.55 else "#1b2733"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    names = [_name(label) for label in figures.classes] if classes <= _MOST_NAMED else []
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction" if names else f"prediction ({classes} classes, in the bundle's order)")
    axes.set_ylabel("right class")
    axes.set_title(_title(report, f"top-1 {figures.top1:.3f}"), loc="left")
    return figure


def draw_curves(report: EvaluationReport) -> Figure:
    """ROC and precision-recall of each class against the rest, one legend for both."""
    figure = _figure((11.0, 4.6))
    roc, precision = figure.subplots(1, 2)
    colours = _colours(len(report.curves))
    for curves, (colour, dashes) in zip(report.curves, colours, strict=True):
        name = f"{_name(curves.label)}   AUC {curves.auc:.3f}   AP {curves.average_precision:.3f}"
        roc.plot(*zip(*curves.roc, strict=True), color=colour, linestyle=dashes, linewidth=1.4, label=name)
        precision.plot(*zip(*curves.precision_recall, strict=True), color=colour, linestyle=dashes, linewidth=1.4)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    _square(roc, "false positive rate", "true positive rate", "ROC, one against the rest")
    _square(precision, "recall", "precision", "Precision and recall")
    hidden = len(report.evaluation.classes) - len(report.curves)
    kinds = "classes" if isinstance(report.evaluation, Evaluation) else "labels"
    note = f"the {len(report.curves)} {kinds} of {hidden + len(report.curves)} with the smallest AUC"
    figure.legend(
        *roc.get_legend_handles_labels(), loc="outside right upper", fontsize=8, title=note if hidden else None
    )
    figure.suptitle(_title(report), x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def draw_reliability(report: EvaluationReport, figures: Evaluation) -> Figure:
    """Accuracy against confidence per bin, and how many images are in each."""
    figure = _figure((4.8, 5.6))
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    filled = [each for each in figures.reliability if each.confidence is not None and each.accuracy is not None]
    width = figures.reliability[0].high - figures.reliability[0].low
    middles = [(each.low + each.high) / 2 for each in filled]
    above.bar(middles, [each.accuracy or 0 for each in filled], width * 0.92, color=_BLUE, label="accuracy")
    gaps = [(each.confidence or 0) - (each.accuracy or 0) for each in filled]
    above.bar(
        middles,
        gaps,
        width * 0.92,
        bottom=[each.accuracy or 0 for each in filled],
        facecolor="none",
        edgecolor=_ORANGE,
        hatch="////",
        linewidth=0.8,
        label="gap to the confidence",
    )
    above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.legend(loc="upper left", fontsize=8)
    above.set_title(_title(report, f"ECE {figures.ece:.3f}"), loc="left")
    below.bar(middles, [each.images for each in filled], width * 0.92, color=GREY)
    below.set(ylabel="images", xlabel="confidence: the top class's probability")
    return figure


def draw_errors(report: EvaluationReport, data: DataSplit) -> Figure:
    """The wrong predictions with most confidence, most confident first."""
    worst = report.worst
    columns = min(_COLUMNS, len(worst))
    rows = math.ceil(len(worst) / columns)
    figure = _figure((max(1.75 * columns, 4.0), 2.35 * rows + 0.4))
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for axes in grid:
        axes.set_axis_off()
    margin = report.subject.scores == "margin"
    for axes, mistake in zip(grid, worst, strict=False):
        _draw_mistake(axes, mistake, data.root / mistake.path, margin=margin)
    unit = "margin over the right class" if margin else "probability"
    unit = unit if isinstance(report.evaluation, Evaluation) else "share of the way from the threshold to 0 or 1"
    figure.suptitle(
        f"{_title(report)}: surest wrong predictions ({unit})", x=0.01, ha="left", fontsize=10, fontweight="bold"
    )
    return figure


def _draw_mistake(axes: Axes, mistake: Mistake, path: Path, *, margin: bool) -> None:
    try:
        image = decode(path).image
        image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        axes.imshow(np.asarray(image), interpolation="nearest")
    except ImageError:
        axes.text(0.5, 0.5, "file missing", ha="center", va="center", color=GREY)
    sure = f"{mistake.confidence:.2f}" if margin else f"{mistake.confidence:.1%}"
    axes.set_title(f"{_name(mistake.answer)} {sure}", color=_RED, fontsize=7, loc="center", pad=3)
    caption = f"is {_name(mistake.label)}\n{_name(path.name, 26)}"
    axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7, color="#333333")


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _square(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")
    axes.set_title(title, loc="left")
    axes.grid(color="#e6e8eb", linewidth=0.6)


def _colours(count: int) -> list[tuple[Any, str]]:
    """A colour and a dash pattern each; both, so that twenty curves differ, in black and white too."""
    from matplotlib import colormaps

    palette = colormaps["tab10"].colors  # type: ignore[attr-defined]
    dashes = ("-", "--", "-.", ":")
    return [(palette[i % 10], dashes[i // 10 % len(dashes)]) for i in range(count)]


def _percent() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0)


def _title(report: EvaluationReport, figure: str = "") -> str:
    about = f"{inert(report.subject.name)} on {report.evaluation.images:,} {report.split} images"
    return f"{about}: {figure}" if figure else about


def _name(label: str, longest: int = _LONGEST_NAME) -> str:
    text = inert(label)
    return text if len(text) <= longest else text[: longest - 1] + "…"
