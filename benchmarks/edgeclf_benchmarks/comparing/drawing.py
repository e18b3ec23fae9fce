"""Pictures of a comparison as inline SVG without scripts; numbers stand beside the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.markup import text

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 16, 48
_MOST_STEPS = 150
COLOURS = 8  # classes c0..c7 of the page's style

Scale = Callable[[float], float]


def pareto(entries: Sequence[Entry]) -> str:
    """p50 of inference (logarithmic) against top-1, both 95 % intervals; the dashed line joins the undominated."""
    points = []
    for number, entry in enumerate(entries, 1):
        latency, found = entry.latency(), entry.row.evaluation
        if latency is not None and found is not None:
            points.append((number, entry, latency.p50_ms, found.top1))
    if not points:
        return ""
    xs = [bound for _, entry, x, _ in points for bound in _bounds_ms(entry, x)]
    ys = [bound for _, entry, _, y in points for bound in _bounds_top1(entry, y)]
    low, high = min(xs) / 1.15, max(xs) * 1.15
    floor, ceiling = max(0.0, min(ys) - 0.01), min(1.0, max(ys) + 0.01)
    x_of, y_of = _log_scale(low, high), _linear_scale(floor, ceiling)
    parts = [*_frame("infer p50, ms (logarithmic)", "top-1"), *_log_ticks(low, high, x_of)]
    parts += _linear_ticks(floor, ceiling, y_of)
    front = [(x_of(x), y_of(y)) for x, y in undominated([(x, y) for _, _, x, y in points])]
    parts.append(f'<polyline class="front" points="{_joined(front)}"/>')
    for number, entry, x, y in points:
        across, up = x_of(x), y_of(y)
        left, right = map(x_of, _bounds_ms(entry, x))
        bottom, top = map(y_of, _bounds_top1(entry, y))
        parts.append(
            f'<g class="c{(number - 1) % COLOURS}"><title>{text(f"{entry.name}: {x:.2f} ms, top-1 {y:.3f}")}</title>'
            f'<path class="bars" d="M{left:.1f} {up:.1f}H{right:.1f}M{across:.1f} {bottom:.1f}V{top:.1f}"/>'
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="10"/>'
            f'<text class="number" x="{across:.1f}" y="{up + 4:.1f}">{number}</text></g>'
        )
    return _svg("Latency against accuracy: further left is faster, further up is more often right", parts)


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none is both faster and more often right than, from the fastest on."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def ecdf(entries: Sequence[Entry]) -> str:
    """Share of inference calls that took at most so long, over all timed calls."""
    taken = [(number, entry, sorted(_samples(entry))) for number, entry in enumerate(entries, 1)]
    taken = [each for each in taken if each[2]]
    if not taken:
        return ""
    low, high = min(each[2][0] for each in taken) / 1.05, max(each[2][-1] for each in taken) * 1.05
    x_of, y_of = _log_scale(low, high), _linear_scale(0.0, 1.0)
    parts = [*_frame("one inference, ms (logarithmic)", "share of calls"), *_log_ticks(low, high, x_of)]
    parts += _linear_ticks(0.0, 1.0, y_of)
    for number, entry, samples in taken:
        last = len(samples) - 1
        kept = sorted({round(place * last / _MOST_STEPS) for place in range(_MOST_STEPS + 1)})
        path = _joined([(x_of(samples[place]), y_of((place + 1) / len(samples))) for place in kept])
        middle = samples[last // 2], y_of(0.5)
        parts.append(
            f'<g class="c{(number - 1) % COLOURS}"><title>{text(entry.name)}</title>'
            f'<polyline class="line" points="{path}"/><circle cx="{x_of(middle[0]):.1f}" cy="{middle[1]:.1f}" r="9"/>'
            f'<text class="number" x="{x_of(middle[0]):.1f}" y="{middle[1] + 4:.1f}">{number}</text></g>'
        )
    return _svg("Distribution of latency: steeper is steadier", parts)


def stages(entries: Sequence[Entry]) -> str:
    """Medians of preprocessing and inference as one bar an entry, with a mark at the median end to end."""
    split = [
        (number, entry, before.p50_ms, infer.p50_ms, entry.latency("end_to_end"))
        for number, entry in enumerate(entries, 1)
        if (before := entry.latency("preprocess")) is not None and (infer := entry.latency("infer")) is not None
    ]
    if not split:
        return ""
    longest = max(max(before + infer, whole.p50_ms if whole else 0.0) for _, _, before, infer, whole in split)
    wide, height = _WIDTH - 150, 26 * len(split) + 30
    parts = []
    for line, (number, entry, prepared, inferred, whole) in enumerate(split):
        top, first, second = 26 * line + 6, wide * prepared / longest, wide * inferred / longest
        parts.append(
            f"<g><title>{text(f'{entry.name}: preprocess {prepared:.2f} ms, infer {inferred:.2f} ms')}</title>"
            f'<text x="22" y="{top + 14}" text-anchor="end">{number}</text>'
            f'<rect class="before" x="30" y="{top}" width="{first:.1f}" height="18"/>'
            f'<rect class="infer" x="{30 + first:.1f}" y="{top}" width="{second:.1f}" height="18"/>'
            f'<text x="{36 + first + second:.1f}" y="{top + 14}">{prepared:.2f} + {inferred:.2f} ms</text></g>'
        )
        if whole is not None:
            parts.append(f'<path class="mark" d="M{30 + wide * whole.p50_ms / longest:.1f} {top - 2}v22"/>')
    return _svg(
        "Where the time goes: lighter preprocess, darker infer; the mark is the median end to end", parts, height
    )


def _samples(entry: Entry) -> list[float]:
    found = entry.latency()
    return [] if found is None else [sample for taken in found.rounds_ms for sample in taken]


def _bounds_ms(entry: Entry, value: float) -> tuple[float, float]:
    found = entry.latency()
    interval = found.p50_interval_ms if found is not None else None
    return (value, value) if interval is None else (interval.low, interval.high)


def _bounds_top1(entry: Entry, value: float) -> tuple[float, float]:
    interval = entry.row.evaluation.top1_interval if entry.row.evaluation is not None else None
    return (value, value) if interval is None else (interval.low, interval.high)


def _log_scale(low: float, high: float) -> Scale:
    span = math.log(high / low) or 1.0
    return lambda value: _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(value / low) / span


def _linear_scale(low: float, high: float) -> Scale:
    span = (high - low) or 1.0
    return lambda value: _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / span


def _log_ticks(low: float, high: float, x_of: Scale) -> Iterator[str]:
    steps = (1, 2, 5) if high / low > 4 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for value in (step * 10.0**decade for decade in decades for step in steps):
        if low <= value <= high:
            x = x_of(value)
            yield f'<path class="grid" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
            yield f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value:g}</text>'


def _linear_ticks(low: float, high: float, y_of: Scale) -> Iterator[str]:
    step = next(each for each in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / each <= 8)
    for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        y = y_of(number * step)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:.3g}</text>'


def _frame(across: str, up: str) -> Iterator[str]:
    yield f'<path class="axis" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>'
    yield f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{across}</text>'
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    yield f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{up}</text>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(title: str, parts: Sequence[str], height: int = _HEIGHT) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>'
        f"<figcaption>{text(title)}</figcaption></figure>"
    )
