"""A learning curve as one plot: accuracy with its interval, and training time, against images used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.console import inert
from edgeclf.evaluation.plot_style import STYLE
from edgeclf.training.learning_curve.curve import LearningCurve, Point

_COLOURS = ("#0067a8", "#b84500", "#007455", "#a03a86", "#3b4652")  # those of compare's page
_MARKS = ("o", "s", "^", "D", "v")
_APART = 0.012  # of the factor between neighbours' places, so that intervals of one count don't lie on each other


def draw_learning_curve(curve: LearningCurve, path: Path) -> None:
    """Writes the plot as PNG at `path`."""
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4), layout="constrained")
        accuracy, seconds = figure.subplots(1, 2, width_ratios=(3, 2))
        for number, approach in enumerate(curve.approaches):
            points = curve.of(approach)
            style = {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKS[number % len(_MARKS)], "markersize": 5}
            shift = (1 + _APART) ** (2 * number - len(curve.approaches) + 1)
            accuracy.errorbar(
                [point.images * shift for point in points],
                [point.accuracy for point in points],
                yerr=_whiskers(points),
                label=approach,
                capsize=2.5,
                linewidth=1.4,
                elinewidth=0.9,
                **style,
            )
            timed = [point for point in points if point.training_seconds > 0]  # a logarithm has no 0
            seconds.plot(
                [p.images for p in timed], [p.training_seconds for p in timed], linewidth=1.4, label=approach, **style
            )
        selected = ", on which epochs were selected" if curve.selected_here else ""
        known_by = "accuracy (top-1)" if curve.figure == "top-1" else curve.figure
        accuracy.set(xscale="log", xlabel="training images", ylabel=f"{known_by}, 95 % interval")
        accuracy.set_title(f"{curve.judged_images:,} {_split(curve)} images{selected}", loc="left")
        seconds.set(xscale="log", yscale="log", xlabel="training images")
        seconds.set_title("training time", loc="left")
        seconds.yaxis.set_major_formatter(lambda value, place: f"{value:g} s")
        _place_ticks(accuracy, curve)
        _place_ticks(seconds, curve)
        accuracy.legend(loc="best", fontsize=8)
        figure.suptitle(inert(f"{curve.model} on {curve.data}"), x=0.01, ha="left", fontsize=10, fontweight="bold")
        figure.savefig(path, dpi=130, format="png", facecolor="white", metadata={"Software": None})


def _split(curve: LearningCurve) -> str:
    return {"val": "validation", "test": "test"}[curve.judged_on]


def _whiskers(points: tuple[Point, ...]) -> list[list[float]]:
    """[how far down, how far up] of each interval; 0 where there is none."""
    pairs = [(point, point.interval) for point in points]
    low = [max(0.0, point.accuracy - found.low) if found else 0.0 for point, found in pairs]
    high = [max(0.0, found.high - point.accuracy) if found else 0.0 for point, found in pairs]
    return [low, high]


def _place_ticks(axes: Any, curve: LearningCurve) -> None:
    """The counts that were measured, in place of powers of ten."""
    from matplotlib.ticker import NullFormatter, NullLocator

    counts = sorted({point.images for point in curve.points})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e6e8eb", linewidth=0.6)
    axes.set_axisbelow(True)
