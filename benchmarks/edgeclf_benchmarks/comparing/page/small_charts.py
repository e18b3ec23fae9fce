"""Small pictures side by side: ROC curves a class, reliability a row, robustness a corruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import name_of
from edgeclf_benchmarks.comparing.page.svg import Axis, Paper, figure
from edgeclf_benchmarks.page.escaping import name
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_benchmarks.page.marks import badge, marker_of
from edgeclf_runtime.metrics.curves import Curves
from edgeclf_runtime.metrics.metrics import Evaluation
from edgeclf_runtime.metrics.robustness import Robustness

_SMALL = Paper(Axis(0, 1, most=3), Axis(0, 1, most=3), 240, 230, left=56, right=12, top=10, bottom=48)
_MOST_CLASSES = 6
_CORNERS = (0.05, 0.1, 0.2, 0.5)


def roc(entries: Sequence[Entry]) -> str:
    """One class against the rest, the classes that are hardest to tell; a curve an entry."""
    classes = hardest_classes(entries)
    if not classes:
        return ""
    found = {label: list(_curves(entries, label)) for label in classes}
    corner = _corner([curves for each in found.values() for _, curves in each])
    panels = "".join(_roc(entries, label, found[label], corner) for label in classes)
    return f'<div class="panels">{panels}</div>'


def hardest_classes(entries: Sequence[Entry]) -> list[str]:
    """The classes with the smallest area under any entry's curve; those first that most entries have a curve of."""
    areas: dict[str, list[float]] = {}
    for entry in entries:
        for curves in entry.row.curves:
            areas.setdefault(curves.label, []).append(curves.auc)
    return sorted(areas, key=lambda label: (-len(areas[label]), min(areas[label])))[:_MOST_CLASSES]


def areas_table(entries: Sequence[Entry]) -> Table | None:
    """The areas under the curves that are shown."""
    classes = hardest_classes(entries)
    judged = [number for number, entry in enumerate(entries, 1) if entry.row.curves]
    if not classes:
        return None
    rows = []
    for label in classes:
        areas = {number: curves.auc for number, curves in _curves(entries, label)}
        rows.append((label, *(f"{areas[number]:.4f}" if number in areas else "n/a" for number in judged)))
    headings = ("class", *(entries[number - 1].name for number in judged))
    return Table("Area under the ROC curve, the smallest first", headings, tuple(rows), across=(None, *judged))


def _curves(entries: Sequence[Entry], label: str) -> Iterator[tuple[int, Curves]]:
    for number, entry in enumerate(entries, 1):
        yield from ((number, curves) for curves in entry.row.curves if curves.label == label)


def _corner(curves: Sequence[Curves]) -> float:
    """Side of the upper left corner in which all curves turn: where all are good, only there is something to see."""
    reach = max(min(max(x, 1 - y) for x, y in each.roc) for each in curves)
    return next((corner for corner in _CORNERS if reach <= corner / 2), 1.0)


def _roc(entries: Sequence[Entry], label: str, found: Sequence[tuple[int, Curves]], corner: float) -> str:
    paper = replace(_SMALL, x=Axis(0, corner, most=4), y=Axis(1 - corner, 1, most=4))
    lines = "".join(
        f'<polyline class="line {marker_of(number)}" points="{paper.path(curves.roc)}"/>' for number, curves in found
    )
    blind = f'<polyline class="front" points="{paper.path([(0, 0), (1, 1)])}"/>'
    parts = [*paper.frame("false positive rate", "true positive rate"), paper.inside(blind + lines)]
    told = "; ".join(f"{number}: {entries[number - 1].name}, area {curves.auc:.4f}" for number, curves in found)
    caption = f"<b>{name(label)}</b> against the rest" + ("" if corner == 1 else ", upper left corner")
    return figure(f"ROC of {label}", told, parts, (240, 230), caption=caption, kind="panel")


def reliability(entries: Sequence[Entry]) -> str:
    """How often answers of a confidence are right, a panel an entry; margins have no confidence."""
    panels = [
        _reliability(entries, number, entry.row.evaluation)
        for number, entry in enumerate(entries, 1)
        if entry.row.evaluation is not None and entry.row.evaluation.reliability
    ]
    return f'<div class="panels">{"".join(panels)}</div>' if panels else ""


def _reliability(entries: Sequence[Entry], number: int, found: Evaluation) -> str:
    paper = _SMALL
    parts = list(paper.frame("confidence", "share right"))
    most = max(each.images for each in found.reliability)
    told = []
    for each in found.reliability:
        if each.confidence is None or each.accuracy is None:
            continue
        left, right = paper.across(each.low), paper.across(each.high)
        top, base = paper.up(each.accuracy), paper.up(0)
        share = 0.18 * each.images / most * (base - paper.up(1))
        parts.append(_column("right", left + 0.8, right - 0.8, top, base))
        parts.append(_column("count", left + 3, right - 3, base - share, base))
        parts.append(f'<path class="tick" d="M{left + 0.8:.1f} {paper.up(each.confidence):.1f}H{right - 0.8:.1f}"/>')
        told.append(f"confidence {each.confidence:.2f}: {each.accuracy:.2f} of {each.images} right")
    parts.append(f'<polyline class="front" points="{paper.path([(0, 0), (1, 1)])}"/>')
    ece = "" if found.ece is None else f'<br><span class="dim">ECE {found.ece:.3f}</span>'
    caption = f"{badge(number)} {name_of(entries, number)}{ece}"
    title = f"Reliability of {entries[number - 1].name}"
    return figure(title, "; ".join(told), parts, (240, 230), caption=caption, kind="panel")


def _column(kind: str, left: float, right: float, top: float, base: float) -> str:
    size = f'width="{right - left:.1f}" height="{base - top:.1f}"'
    return f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" {size}/>'


def robustness(entries: Sequence[Entry]) -> str:
    """Top-1 on images that were spoilt, a panel a corruption; level 0 is the same images as they are."""
    spoilt = [(number, each.row.robustness) for number, each in enumerate(entries, 1) if each.row.robustness]
    kinds = list(dict.fromkeys(each.name for _, found in spoilt for each in found.entries))
    if not kinds:
        return ""
    shares = [found.clean_top1 for _, found in spoilt] + [each.top1 for _, found in spoilt for each in found.entries]
    levels = max(each.level for _, found in spoilt for each in found.entries)
    bottom, top = max(0.0, min(shares) - 0.02), min(1.0, max(shares) + 0.02)
    paper = replace(_SMALL, x=Axis(0, levels, most=levels + 1), y=Axis(bottom, top, most=4))
    panels = "".join(_robustness(entries, kind, spoilt, paper) for kind in kinds)
    return f'<div class="panels">{panels}</div>'


def _robustness(entries: Sequence[Entry], kind: str, spoilt: Sequence[tuple[int, Robustness]], paper: Paper) -> str:
    parts, told = list(paper.frame("level", "top-1")), []
    for number, found in spoilt:
        levels = sorted((each.level, each.top1) for each in found.entries if each.name == kind)
        points = [(0, found.clean_top1), *levels]
        told.append(f"{number}: {entries[number - 1].name}, " + ", ".join(f"{y:.3f} at {x}" for x, y in points))
        knots = "".join(
            f'<circle class="knot {marker_of(number)}" cx="{paper.across(x):.1f}" cy="{paper.up(y):.1f}" r="3.5"/>'
            for x, y in points
        )
        parts.append(f'<polyline class="line {marker_of(number)}" points="{paper.path(points)}"/>{knots}')
    caption = f"<b>{name(kind)}</b>"
    return figure(f"Top-1 under {kind}", "; ".join(told), parts, (240, 230), caption=caption, kind="panel")
