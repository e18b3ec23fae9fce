"""Small charts side by side: ROC curves a class, reliability a row, robustness a corruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import name_of
from edgeclf_benchmarks.comparing.page.svg import Axis, Plot, figure
from edgeclf_benchmarks.comparing.robustness_columns import figure_when_corrupted
from edgeclf_benchmarks.page.escaping import name
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_benchmarks.page.marks import badge, marker_of
from edgeclf_runtime.metrics.curves import Curves
from edgeclf_runtime.metrics.metrics import Evaluation
from edgeclf_runtime.metrics.robustness import Robustness

_SMALL = Plot(Axis(0, 1, most=3), Axis(0, 1, most=3), 240, 230, left=56, right=12, top=10, bottom=48)
_MOST_CLASSES = 6
_CORNERS = (0.05, 0.1, 0.2, 0.5)


def roc(entries: Sequence[Entry]) -> str:
    """One class against the rest, the classes that are hardest to classify; a curve per entry."""
    classes = hardest_classes(entries)
    if not classes:
        return ""
    found = {label: list(_curves(entries, label)) for label in classes}
    corner = _corner([curves for each in found.values() for _, curves in each])
    panels = "".join(_roc(entries, label, found[label], corner) for label in classes)
    return f'<div class="panels">{panels}</div>'


def hardest_classes(entries: Sequence[Entry]) -> list[str]:
    """The classes with the smallest area under any entry's curve; first those that most entries have a curve of."""
    areas: dict[str, list[float]] = {}
    for entry in entries:
        for curves in entry.row.curves:
            areas.setdefault(curves.label, []).append(curves.auc)
    return sorted(areas, key=lambda label: (-len(areas[label]), min(areas[label])))[:_MOST_CLASSES]


def areas_table(entries: Sequence[Entry]) -> Table | None:
    """The areas under the curves that are shown."""
    classes = hardest_classes(entries)
    evaluated = [number for number, entry in enumerate(entries, 1) if entry.row.curves]
    if not classes:
        return None
    rows = []
    for label in classes:
        areas = {number: curves.auc for number, curves in _curves(entries, label)}
        rows.append((label, *(f"{areas[number]:.4f}" if number in areas else "n/a" for number in evaluated)))
    headings = ("class", *(entries[number - 1].name for number in evaluated))
    return Table("Area under the ROC curve, the smallest first", headings, tuple(rows), across=(None, *evaluated))


def _curves(entries: Sequence[Entry], label: str) -> Iterator[tuple[int, Curves]]:
    for number, entry in enumerate(entries, 1):
        yield from ((number, curves) for curves in entry.row.curves if curves.label == label)


def _corner(curves: Sequence[Curves]) -> float:
    """Side of the upper left corner in which all curves turn: where all are good, the rest is empty."""
    reach = max(min(max(x, 1 - y) for x, y in each.roc) for each in curves)
    return next((corner for corner in _CORNERS if reach <= corner / 2), 1.0)


def _roc(entries: Sequence[Entry], label: str, found: Sequence[tuple[int, Curves]], corner: float) -> str:
    plot = replace(_SMALL, x=Axis(0, corner, most=4), y=Axis(1 - corner, 1, most=4))
    lines = "".join(
        f'<polyline class="line {marker_of(number)}" points="{plot.path(curves.roc)}"/>' for number, curves in found
    )
    blind = f'<polyline class="front" points="{plot.path([(0, 0), (1, 1)])}"/>'
    parts = [*plot.frame("false positive rate", "true positive rate"), plot.inside(blind + lines)]
    description = "; ".join(f"{number}: {entries[number - 1].name}, area {curves.auc:.4f}" for number, curves in found)
    caption = f"<b>{name(label)}</b> against the rest" + ("" if corner == 1 else ", upper left corner")
    return figure(f"ROC of {label}", description, parts, (240, 230), caption=caption, kind="panel")


def reliability(entries: Sequence[Entry]) -> str:
    """Accuracy of predictions by confidence, a panel per entry; margins have no confidence."""
    panels = [
        _reliability(entries, number, entry.row.evaluation)
        for number, entry in enumerate(entries, 1)
        if isinstance(entry.row.evaluation, Evaluation) and entry.row.evaluation.reliability
    ]
    return f'<div class="panels">{"".join(panels)}</div>' if panels else ""


def _reliability(entries: Sequence[Entry], number: int, found: Evaluation) -> str:
    plot = _SMALL
    parts = list(plot.frame("confidence", "accuracy"))
    most = max(each.images for each in found.reliability)
    description = []
    for each in found.reliability:
        if each.confidence is None or each.accuracy is None:
            continue
        left, right = plot.across(each.low), plot.across(each.high)
        top, base = plot.up(each.accuracy), plot.up(0)
        share = 0.18 * each.images / most * (base - plot.up(1))
        parts.append(_column("right", left + 0.8, right - 0.8, top, base))
        parts.append(_column("count", left + 3, right - 3, base - share, base))
        parts.append(f'<path class="tick" d="M{left + 0.8:.1f} {plot.up(each.confidence):.1f}H{right - 0.8:.1f}"/>')
        description.append(f"confidence {each.confidence:.2f}: {each.accuracy:.2f} of {each.images} right")
    parts.append(f'<polyline class="front" points="{plot.path([(0, 0), (1, 1)])}"/>')
    ece = "" if found.ece is None else f'<br><span class="dim">ECE {found.ece:.3f}</span>'
    caption = f"{badge(number)} {name_of(entries, number)}{ece}"
    title = f"Reliability of {entries[number - 1].name}"
    return figure(title, "; ".join(description), parts, (240, 230), caption=caption, kind="panel")


def _column(kind: str, left: float, right: float, top: float, base: float) -> str:
    size = f'width="{right - left:.1f}" height="{base - top:.1f}"'
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" {size}/>'


def robustness(entries: Sequence[Entry]) -> str:
    """Top-1 or mAP on corrupted images, a panel per corruption; level 0 is the same images without it."""
    corrupted = [(number, each.row.robustness) for number, each in enumerate(entries, 1) if each.row.robustness]
    kinds = list(dict.fromkeys(each.name for _, found in corrupted for each in found.entries))
    if not kinds:
        return ""
    shares = [found.clean_value for _, found in corrupted] + [
        each.value for _, found in corrupted for each in found.entries
    ]
    levels = max(each.level for _, found in corrupted for each in found.entries)
    bottom, top = max(0.0, min(shares) - 0.02), min(1.0, max(shares) + 0.02)
    plot = replace(_SMALL, x=Axis(0, levels, most=levels + 1), y=Axis(bottom, top, most=4))
    panels = "".join(_robustness(entries, kind, corrupted, plot) for kind in kinds)
    return f'<div class="panels">{panels}</div>'


def _robustness(entries: Sequence[Entry], kind: str, corrupted: Sequence[tuple[int, Robustness]], plot: Plot) -> str:
    parts, description = list(plot.frame("level", figure_when_corrupted(entries))), []
    for number, found in corrupted:
        levels = sorted((each.level, each.value) for each in found.entries if each.name == kind)
        points = [(0, found.clean_value), *levels]
        description.append(f"{number}: {entries[number - 1].name}, " + ", ".join(f"{y:.3f} at {x}" for x, y in points))
        knots = "".join(
            f'<circle class="knot {marker_of(number)}" cx="{plot.across(x):.1f}" cy="{plot.up(y):.1f}" r="3.5"/>'
            for x, y in points
        )
        parts.append(f'<polyline class="line {marker_of(number)}" points="{plot.path(points)}"/>{knots}')
    caption = f"<b>{name(kind)}</b>"
    title = f"{figure_when_corrupted(entries, start=True)} under {kind}"
    return figure(title, "; ".join(description), parts, (240, 230), caption=caption, kind="panel")
