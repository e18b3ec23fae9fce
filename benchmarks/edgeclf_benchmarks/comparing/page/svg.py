"""Axes, grids and figures of inline SVG: the parts of a comparison's charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeclf_benchmarks.page.escaping import text
from edgeclf_runtime.metrics.rounding import significant


@dataclass(frozen=True, slots=True)
class Axis:
    """Values low..high, linear or logarithmic; `most` labels fit beside it."""

    low: float
    high: float
    logarithmic: bool = False
    most: int = 7

    def share(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`."""
        if self.high == self.low:
            return 0.5
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values between the ends, at most `most` of them."""
        if not self.logarithmic:
            return _linear_ticks(self.low, self.high, self.most)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) <= self.most:
                return found if len(found) > 1 else _linear_ticks(self.low, self.high, self.most)
        return found[:: math.ceil(len(found) / self.most)]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    span = (high - low) or 1.0
    step = next(
        step * 10.0**power for power in range(-9, 12) for step in (1, 2, 5) if span / (step * 10.0**power) <= most - 1
    )
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [number * step for number in numbers]


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of `width` x `height` units with two axes, and the room around them for labels."""

    x: Axis
    y: Axis
    width: float = 560
    height: float = 360
    left: float = 76
    right: float = 16
    top: float = 14
    bottom: float = 54

    def across(self, value: float) -> float:
        """The place of a value of the x axis."""
        return self.left + (self.width - self.left - self.right) * self.x.share(value)

    def up(self, value: float) -> float:
        """The place of a value of the y axis; higher values lie higher."""
        return self.height - self.bottom - (self.height - self.top - self.bottom) * self.y.share(value)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Points of the axes as those of a polyline."""
        return " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)

    def inside(self, parts: str) -> str:
        """Parts that are cut off where the axes end."""
        wide, high = self.width - self.left - self.right, self.height - self.top - self.bottom
        where = f'x="{self.left:g}" y="{self.top:g}" width="{wide:g}" height="{high:g}"'
        return f'<svg {where} viewBox="{self.left:g} {self.top:g} {wide:g} {high:g}">{parts}</svg>'

    def frame(self, x_name: str, y_name: str) -> Iterator[str]:
        """Grid, labels, axes and their names."""
        right, bottom = self.width - self.right, self.height - self.bottom
        for value in self.x.ticks():
            x = self.across(value)
            yield f'<path class="grid" d="M{x:.1f} {self.top:g}V{bottom:g}"/>'
            yield f'<text class="middle" x="{x:.1f}" y="{bottom + 19:g}">{significant(value)}</text>'
        for value in self.y.ticks():
            y = self.up(value)
            yield f'<path class="grid" d="M{self.left:g} {y:.1f}H{right:g}"/>'
            yield f'<text class="end" x="{self.left - 7:g}" y="{y + 5:.1f}">{significant(value)}</text>'
        yield f'<path class="axis" d="M{self.left:g} {self.top:g}V{bottom:g}H{right:g}"/>'
        centre, middle = (right + self.left) / 2, (bottom + self.top) / 2
        yield f'<text class="middle name" x="{centre:g}" y="{self.height - 8:g}">{text(x_name)}</text>'
        yield f'<text class="middle name" transform="translate(15 {middle:g}) rotate(-90)">{text(y_name)}</text>'


def figure(
    title: str,
    description: str,
    parts: Sequence[str],
    size: tuple[float, float],
    *,
    caption: str = "",
    kind: str = "chart",
) -> str:
    """A chart with its caption. `description` says in words what it shows; `caption` is HTML, or else the title."""
    width, height = size
    return (
        f'<figure class="{kind}"><svg viewBox="0 0 {width:g} {height:g}" role="img"><title>{text(title)}</title>'
        f"<desc>{text(description)}</desc>{''.join(parts)}</svg>"
        f"<figcaption>{caption or text(title)}</figcaption></figure>"
    )
