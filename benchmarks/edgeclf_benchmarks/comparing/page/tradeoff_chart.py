"""The chart of latency against accuracy: both intervals of every row, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import key
from edgeclf_benchmarks.comparing.page.svg import Axis, Plot, figure
from edgeclf_benchmarks.page.marks import mark, marker_of
from edgeclf_runtime.metrics.rounding import in_ms

_ROOM = 23.0  # between two marks
_BESIDE = ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1), (2, 0), (0, -2), (-2, 0))


@dataclass(frozen=True, slots=True)
class _Point:
    """p50 of inference and top-1 (or mAP: `figure`) of an entry, each with its lowest and highest likely value."""

    number: int
    ms: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    figure: str


def pareto(entries: Sequence[Entry]) -> str:
    """p50 of inference (logarithmic) against accuracy, both 95 % intervals; the dashed line joins the undominated."""
    points = [point for number, entry in enumerate(entries, 1) if (point := _point(number, entry)) is not None]
    if not points:
        return ""
    lowest, highest = min(point.accuracy[0] for point in points), max(point.accuracy[2] for point in points)
    plot = Plot(
        Axis(min(point.ms[0] for point in points) / 1.15, max(point.ms[2] for point in points) * 1.15, True),
        Axis(max(0.0, lowest - 0.01), min(1.0, highest + 0.01)),
        height=400,
    )
    named = "top-1, share of images" if points[0].figure == "top-1" else points[0].figure
    parts = list(plot.frame("median of one inference, ms (logarithmic)", named))
    front = undominated([(point.ms[1], point.accuracy[1]) for point in points])
    if len(front) > 1:
        parts.append(f'<polyline class="front" points="{plot.path(front)}"/>')
    parts += [_bars(plot, point) for point in points]
    parts += _marks(plot, points)
    figures = {each.number: f"{in_ms(each.ms[1])} ms, {each.figure} {each.accuracy[1]:.3f}" for each in points}
    description = "; ".join(f"{number}: {entries[number - 1].name}, {shown}" for number, shown in figures.items())
    title = "Latency against accuracy: further left is faster, further up is more accurate"
    caption = "Further left is faster, further up is more accurate. Bars are 95 % intervals"
    caption += "; the dashed line joins the rows that no other beats in both." if len(front) > 1 else "."
    drawn = figure(title, description, parts, (plot.width, plot.height), caption=caption)
    return f'<div class="pair">{drawn}{key(entries, figures, figures)}</div>'


def _point(number: int, entry: Entry) -> _Point | None:
    latency, found = entry.latency(), None if entry.row.evaluation is None else entry.row.evaluation.main_figure
    if latency is None or found is None or found.value is None:
        return None
    ms, bounds = latency.p50_interval_ms, found.interval
    return _Point(
        number,
        (ms.low if ms else latency.p50_ms, latency.p50_ms, ms.high if ms else latency.p50_ms),
        (bounds.low if bounds else found.value, found.value, bounds.high if bounds else found.value),
        found.name,
    )


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none is both faster and more accurate than, from the fastest on."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _bars(plot: Plot, point: _Point) -> str:
    left, x, right = map(plot.across, point.ms)
    bottom, y, top = map(plot.up, point.accuracy)
    path = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {bottom:.1f}V{top:.1f}"
    return f'<path class="bars {marker_of(point.number)}" d="{path}"/>'


def _marks(plot: Plot, points: Sequence[_Point]) -> list[str]:
    """Marks where the points are, or beside them at the end of a line where another mark would overlap."""
    taken: list[tuple[float, float]] = []
    parts = []
    for point in points:
        x, y = plot.across(point.ms[1]), plot.up(point.accuracy[1])
        places = [(x + across * _ROOM, y + down * _ROOM) for across, down in _BESIDE]
        free = (each for each in places if _fits(plot, each) and all(_apart(each, other) for other in taken))
        at = next(free, (x, y))
        taken.append(at)
        if at != (x, y):
            parts.append(f'<path class="leader" d="M{x:.1f} {y:.1f}L{at[0]:.1f} {at[1]:.1f}"/>')
            parts.append(f'<circle class="knot {marker_of(point.number)}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(mark(point.number, *at))
    return parts


def _fits(plot: Plot, at: tuple[float, float]) -> bool:
    return plot.left + 8 <= at[0] <= plot.width - 12 and 12 <= at[1] <= plot.height - plot.bottom - 8


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= _ROOM - 1
