"""How an entry is told from others in all pictures and tables: by number, shape and dashes, not by colour alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.escaping import name, text

COLOURS = 8  # classes c0..c7 of the page's style: Okabe and Ito's hues, darkened or lightened till they can be read
_SHAPES = (  # of radius 10, with room for two digits
    '<circle r="10"/>',
    '<rect x="-9" y="-9" width="18" height="18" rx="3"/>',
    '<path d="M0-13 13 0 0 13-13 0z"/>',
    '<path d="M-6-10H6L12 0 6 10H-6L-12 0z"/>',
)
_DASHES = 4  # classes d0..d3: solid, dashed, dotted, dashed and dotted


def look_of(number: int) -> str:
    """The classes of an entry's lines and marks: 32 are all different."""
    place = number - 1
    return f"c{place % COLOURS} d{(place + place // COLOURS) % _DASHES}"


def mark(number: int, x: float, y: float) -> str:
    """An entry's number on its shape, around a point of a picture."""
    return f'<g class="mark {look_of(number)}" transform="translate({x:.1f} {y:.1f})">{_shape(number)}</g>'


def badge(number: int) -> str:
    """An entry's mark in a line of text; what is heard is the name beside it."""
    return (
        f'<svg class="badge" viewBox="-13 -13 26 26" aria-hidden="true"><g class="mark {look_of(number)}">'
        f"{_shape(number)}</g></svg>"
    )


def badges(numbers: Iterable[int], entries: Sequence[Entry]) -> str:
    """Marks in a line without their names, which are there to be heard, or pointed at."""
    return " ".join(
        f'<span class="pointed" title="{name_of(entries, number)}">{badge(number)}'
        f'<span class="heard">{name_of(entries, number)}</span></span>'
        for number in numbers
    )


def key(entries: Sequence[Entry], numbers: Iterable[int], figures: Mapping[int, str] = MappingProxyType({})) -> str:
    """Which mark and which line is whose, with its figures where there are some."""
    items = "".join(
        f'<li><svg class="sample" viewBox="-24 -13 48 26" aria-hidden="true"><g class="{look_of(number)}">'
        f'<path class="line" d="M-24 0H24"/></g><g class="mark {look_of(number)}">{_shape(number)}</g></svg>'
        f"<span>{name_of(entries, number)}{_below(figures.get(number, ''))}</span></li>"
        for number in numbers
    )
    return f'<ul class="key" aria-label="Marks of the rows">{items}</ul>'


def _below(figures: str) -> str:
    return f'<br><span class="dim">{text(figures)}</span>' if figures else ""


def name_of(entries: Sequence[Entry], number: int) -> str:
    """The name of an entry, counted from 1, as HTML."""
    return name(entries[number - 1].name)


def _shape(number: int) -> str:
    place = number - 1
    small = ' class="two"' if number > 9 else ""
    return f'{_SHAPES[(place + place // COLOURS) % len(_SHAPES)]}<text y="4"{small}>{number}</text>'
