"""The marks of entries with their names: in a line of text, and as the key of a plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.page.escaping import name, text
from edgeclf_benchmarks.page.marks import badge, marker_of, shape_of


def badges(numbers: Iterable[int], entries: Sequence[Entry]) -> str:
    """Marks in a line without their names, which are there for screen readers and as tooltips."""
    return " ".join(
        f'<span class="pointed" title="{name_of(entries, number)}">{badge(number)}'
        f'<span class="visually-hidden">{name_of(entries, number)}</span></span>'
        for number in numbers
    )


def key(entries: Sequence[Entry], numbers: Iterable[int], figures: Mapping[int, str] = MappingProxyType({})) -> str:
    """The legend: mark, line and name of each entry, with its figures where there are some."""
    items = "".join(
        f'<li><svg class="sample" viewBox="-24 -13 48 26" aria-hidden="true"><g class="{marker_of(number)}">'
        f'<path class="line" d="M-24 0H24"/></g><g class="mark {marker_of(number)}">{shape_of(number)}</g></svg>'
        f"<span>{name_of(entries, number)}{_below(figures.get(number, ''))}</span></li>"
        for number in numbers
    )
    return f'<ul class="key" aria-label="Marks of the rows">{items}</ul>'


def _below(figures: str) -> str:
    return f'<br><span class="dim">{text(figures)}</span>' if figures else ""


def name_of(entries: Sequence[Entry], number: int) -> str:
    """The name of an entry, counted from 1, as HTML."""
    return name(entries[number - 1].name)
