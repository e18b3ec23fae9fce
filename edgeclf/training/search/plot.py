"""A search as a plot: accuracy against latency, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeclf.console import inert
from edgeclf.evaluation.plot_style import GREY, STYLE
from edgeclf.training.search.state import Search
from edgeclf.wording import count
from edgeclf_runtime.metrics.intervals import Interval

_ROOM_FOR_NAMES = 1.12  # to the right of the slowest
_TUNED, _PROBED = "#0067a8", "#b84500"  # two of compare's page


def draw_search(search: Search, path: Path) -> None:
    """Writes the plot as PNG at `path`: fine-tuned finalists, the last probe of the others, and the latency allowed."""
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots()
        for label, colour, mark, tuned in (("fine-tuned", _TUNED, "o", True), ("linear probe", _PROBED, "s", False)):
            points = [
                (each, score) for each in search.candidates if (score := each.last) and (each.tuned is score) == tuned
            ]
            if points:
                axes.errorbar(
                    [each.milliseconds for each, _ in points],
                    [score.accuracy for _, score in points],
                    xerr=_whiskers(
                        [(each.milliseconds, each.latency.interval if each.latency else None) for each, _ in points]
                    ),
                    yerr=_whiskers([(score.accuracy, score.interval) for _, score in points]),
                    fmt=mark,
                    color=colour,
                    markersize=6,
                    capsize=2.5,
                    elinewidth=0.9,
                    label=label,
                )
            for each, score in points:
                axes.annotate(
                    inert(each.name),
                    (each.milliseconds, score.accuracy),
                    (6, 5),
                    textcoords="offset points",
                    fontsize=8,
                )
        if search.max_ms is not None:
            axes.axvline(search.max_ms, color=GREY, linestyle="--", linewidth=1, label=f"--max-ms {search.max_ms:g}")
        axes.set_xlabel(f"ms for one image: {search.target}, {count(search.threads, 'thread')}, 95 % interval")
        axes.set_ylabel(f"validation {search.figure}, 95 % interval")
        axes.set_xlim(0, _ROOM_FOR_NAMES * axes.get_xlim()[1])
        axes.grid(color="#e6e8eb", linewidth=0.6)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8)
        title = f"{search.validation_images:,} validation images of {search.data}"
        figure.suptitle(inert(title), x=0.01, ha="left", fontsize=10, fontweight="bold")
        figure.savefig(path, dpi=130, format="png", facecolor="white", metadata={"Software": None})


def _whiskers(pairs: Sequence[tuple[float, Interval | None]]) -> list[list[float]]:
    """[how far down, how far up] of each value's interval; 0 where there is none."""
    low = [max(0.0, value - found.low) if found else 0.0 for value, found in pairs]
    high = [max(0.0, found.high - value) if found else 0.0 for value, found in pairs]
    return [low, high]
