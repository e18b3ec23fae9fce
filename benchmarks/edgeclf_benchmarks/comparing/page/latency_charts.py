"""Charts of latency: its distribution, its trace over the run, and the stages that it is made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import get_args

from edgeclf_benchmarks.comparing.columns import median_ms
from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.svg import Axis, Plot, figure
from edgeclf_benchmarks.measuring.timing import Latency, Stage
from edgeclf_benchmarks.page.escaping import shortened_apart, text
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_benchmarks.page.marks import mark, marker_of
from edgeclf_runtime.metrics.rounding import in_ms, significant

_MOST_STEPS, _MOST_STROKES = 150, 180
_STRIP, _BAND = 58, 46
_STAGES: tuple[Stage, ...] = ("preprocess", "infer", "end_to_end")
_STAGE_WORDS = ("preprocess", "infer", "end to end")


def ecdf(entries: Sequence[Entry]) -> str:
    """Cumulative distribution of the latency of all timed inference calls."""
    taken = [(number, sorted(_samples(found))) for number, found in _timed(entries)]
    if not taken:
        return ""
    low, high = min(samples[0] for _, samples in taken), max(samples[-1] for _, samples in taken)
    plot = Plot(Axis(low / 1.05, high * 1.05, True), Axis(0.0, 1.0, most=6))
    parts = list(plot.frame("one inference, ms (logarithmic)", "share of calls"))
    for place, (number, samples) in enumerate(taken):
        last = len(samples) - 1
        kept = sorted({round(step * last / _MOST_STEPS) for step in range(_MOST_STEPS + 1)})
        path = plot.path([(samples[each], (each + 1) / len(samples)) for each in kept])
        share = 0.15 + 0.7 * (place + 0.5) / len(taken)  # the marks of lines that lie close stand apart
        at = plot.across(samples[round(share * last)]), plot.up(share)
        parts.append(f'<polyline class="line {marker_of(number)}" points="{path}"/>{mark(number, *at)}')
    description = "; ".join(
        f"{number}: {entries[number - 1].name}, {len(samples)} calls, {in_ms(samples[0])} to {in_ms(samples[-1])} ms"
        for number, samples in taken
    )
    caption = "The share of calls that took at most this time: further left is faster, steeper is steadier."
    return figure("Distribution of latency", description, parts, (plot.width, plot.height), caption=caption)


def trace(entries: Sequence[Entry]) -> str:
    """When each call was made and how long it took, a strip per entry; nothing is left out."""
    timed = _timed(entries)
    if not timed:
        return ""
    begun = [moment for _, found in timed for moments in found.started_s for moment in moments]
    height = _STRIP * len(timed) + 44
    plot = Plot(Axis(min(begun), max(begun)), Axis(0.0, 1.0), height=height, top=4, bottom=40, left=112)
    parts = []
    for tick in plot.x.ticks():
        x = plot.across(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 4V{height - 40}"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{height - 22}">{significant(tick)}</text>')
    centre, seconds = (plot.left + plot.width) / 2, "seconds since the measurement began"
    parts.append(f'<text class="middle name" x="{centre:g}" y="{height - 5}">{seconds}</text>')
    for place, (number, found) in enumerate(timed):
        parts.append(_strip(plot, 4 + _STRIP * place, number, found))
    description = "; ".join(f"{number}: {entries[number - 1].name}, {_course(found)}" for number, found in timed)
    caption = "Every timed call in the order taken, between the shortest and the longest of its row (logarithmic); the "
    caption += "thin line is the median."
    return figure("Trace of latency", description, parts, (plot.width, height), caption=caption)


def _strip(plot: Plot, top: float, number: int, found: Latency) -> str:
    scale = Axis(found.min_ms, found.max_ms, True)
    base, high = top + _STRIP - 8, _STRIP - 14

    def up(value: float) -> float:
        return base - high * scale.share(value)

    strokes = "".join(
        f"M{plot.across(moment):.1f} {up(least):.1f}V{up(most):.1f}" for moment, least, most in _strokes(found)
    )
    right = plot.width - plot.right
    return (
        f'<g class="{marker_of(number)}"><title>{text(_course(found))}</title>'
        f'<path class="axis" d="M{plot.left:g} {base + 2:.1f}H{right:g}"/>'
        f'<path class="grid" d="M{plot.left:g} {up(found.p50_ms):.1f}H{right:g}"/>'
        f'<path class="dots" d="{strokes}"/></g>'
        f"{mark(number, 14, base - high / 2)}"
        f'<text class="end small" x="{plot.left - 6:g}" y="{base + 1:.1f}">{in_ms(found.min_ms)} ms</text>'
        f'<text class="end small" x="{plot.left - 6:g}" y="{base - high + 11:.1f}">{in_ms(found.max_ms)} ms</text>'
    )


def _strokes(found: Latency) -> list[tuple[float, float, float]]:
    """Moment, shortest and longest call of each of the steps that the run is divided into: outliers stay visible."""
    calls = [
        (moment, taken)
        for moments, samples in zip(found.started_s, found.rounds_ms, strict=True)
        for moment, taken in zip(moments, samples, strict=True)
    ]
    size = -(-len(calls) // _MOST_STROKES)
    groups = [calls[start : start + size] for start in range(0, len(calls), size)]
    return [
        (statistics.mean(moment for moment, _ in group), min(ms for _, ms in group), max(ms for _, ms in group))
        for group in groups
    ]


def _course(found: Latency) -> str:
    slowed = ", slower at the end than at the start" if found.slowed else ""
    outliers = "1 outlier" if found.outliers == 1 else f"{found.outliers} outliers"
    return f"{found.samples} calls, {in_ms(found.min_ms)} to {in_ms(found.max_ms)} ms, {outliers}{slowed}"


def stages(entries: Sequence[Entry]) -> str:
    """Medians of preprocessing, inference and both end to end, on one logarithmic axis, a band per entry."""
    timed = [
        (number, entry, [found.p50_ms if (found := entry.latency(stage)) else None for stage in _STAGES])
        for number, entry in enumerate(entries, 1)
        if entry.latency("infer") is not None
    ]
    taken = [ms for _, _, medians in timed for ms in medians if ms is not None]
    if not taken:
        return ""
    height = _BAND * len(timed) + 44
    plot = Plot(Axis(min(taken) / 1.25, max(taken) * 1.25, True), Axis(0, 1), height=height, left=32, top=4, bottom=40)
    parts = list(_time_axis(plot))
    shown = shortened_apart([entry.row.name for _, entry, _ in timed], 22)
    description = []
    for place, ((number, entry, medians), name) in enumerate(zip(timed, shown, strict=True)):
        figures = [f"{what} {in_ms(ms)} ms" for what, ms in zip(_STAGE_WORDS, medians, strict=True) if ms is not None]
        description.append(f"{number}: {entry.name}, {', '.join(figures)}")
        parts.append(_band(plot, 4 + _BAND * place, number, name, medians))
    caption = (
        "Medians on a logarithmic axis: the hollow circle is decoding and resizing, the filled bar ends where "
        "inference does, the mark is one image end to end."
    )
    return figure("Where the time goes", "; ".join(description), parts, (plot.width, height), caption=caption)


def _time_axis(plot: Plot) -> Iterator[str]:
    base = plot.height - plot.bottom
    for tick in plot.x.ticks():
        x = plot.across(tick)
        yield f'<path class="grid" d="M{x:.1f} {plot.top:g}V{base:g}"/>'
        yield f'<text class="middle" x="{x:.1f}" y="{base + 18:g}">{significant(tick)}</text>'
    centre = (plot.left + plot.width) / 2
    yield f'<text class="middle name" x="{centre:g}" y="{plot.height - 5:g}">median ms (logarithmic)</text>'


def _band(plot: Plot, top: float, number: int, name: str, ms: Sequence[float | None]) -> str:
    """The bar begins where the axis does, which is not zero: read its end off the axis, don't compare lengths."""
    before, infer, whole = ms
    middle, start = top + 30, plot.left
    bar = ""
    if infer is not None:
        wide = plot.across(infer) - start
        bar = f'<rect class="infer" x="{start:g}" y="{middle - 6:g}" width="{wide:.1f}" height="12" opacity=".75"/>'
    hollow = "" if before is None else f'<circle class="hollow" cx="{plot.across(before):.1f}" cy="{middle:g}" r="5"/>'
    end = "" if whole is None else f'<path class="tick" d="M{plot.across(whole):.1f} {middle - 10:g}v20"/>'
    figures = " / ".join("n/a" if each is None else in_ms(each) for each in ms)
    return (
        f'{mark(number, 14, middle)}<text x="{start + 2:g}" y="{top + 15:g}">{text(name)}</text>'
        f'<text class="end small" x="{plot.width - plot.right:g}" y="{top + 15:g}">{figures} ms</text>'
        f"{bar}{hollow}{end}"
    )


def latency_table(entries: Sequence[Entry]) -> Table | None:
    """What the charts show, in figures: medians of the stages, the course of the calls."""
    rows, numbers = [], []
    for number, entry in enumerate(entries, 1):
        found = {stage: entry.latency(stage) for stage in get_args(Stage)}
        infer = found["infer"]
        if infer is None:
            continue
        medians = map(median_ms, found.values())
        rows.append((entry.name, *medians, _course(infer)))
        numbers.append(number)
    headings = ("row", "preprocess [95 %]", "infer [95 %]", "end to end [95 %]", "calls of infer")
    caption = "Medians of the stages, and the course of the calls"
    return Table(caption, headings, tuple(rows), words=headings[-1:], marks=tuple(numbers)) if rows else None


def _timed(entries: Sequence[Entry]) -> list[tuple[int, Latency]]:
    return [(number, found) for number, entry in enumerate(entries, 1) if (found := entry.latency()) is not None]


def _samples(found: Latency) -> list[float]:
    return [sample for taken in found.rounds_ms for sample in taken]
