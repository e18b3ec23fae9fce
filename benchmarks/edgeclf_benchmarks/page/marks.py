"""Numbered marks of a page's rows: distinguished by number, shape and dashes, not by colour alone."""

from __future__ import annotations

COLOURS = 8  # classes c0..c7 of the page's style: Okabe and Ito's hues, darkened or lightened till they can be read
_SHAPES = (  # of radius 10, with room for two digits
    '<circle r="10"/>',
    '<rect x="-9" y="-9" width="18" height="18" rx="3"/>',
    '<path d="M0-13 13 0 0 13-13 0z"/>',
    '<path d="M-6-10H6L12 0 6 10H-6L-12 0z"/>',
)
_DASHES = 4  # classes d0..d3: solid, dashed, dotted, dashed and dotted


def marker_of(number: int) -> str:
    """The classes of an entry's lines and marks: 32 are all different."""
    place = number - 1
    return f"c{place % COLOURS} d{(place + place // COLOURS) % _DASHES}"


def mark(number: int, x: float, y: float) -> str:
    """An entry's number on its shape, around a point of a chart."""
    return f'<g class="mark {marker_of(number)}" transform="translate({x:.1f} {y:.1f})">{shape_of(number)}</g>'


def badge(number: int) -> str:
    """An entry's mark in a line of text; screen readers read the name beside it."""
    return (
        f'<svg class="badge" viewBox="-13 -13 26 26" aria-hidden="true"><g class="mark {marker_of(number)}">'
        f"{shape_of(number)}</g></svg>"
    )


def shape_of(number: int) -> str:
    """A mark around the origin, as SVG."""
    place = number - 1
    small = ' class="two"' if number > 9 else ""
    return f'{_SHAPES[(place + place // COLOURS) % len(_SHAPES)]}<text y="4"{small}>{number}</text>'
