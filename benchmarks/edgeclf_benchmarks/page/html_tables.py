"""A table of plain texts as HTML, which scrolls by itself or stacks its cells on a narrow screen, and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeclf_benchmarks.page.escaping import markdown, markdown_table, name, text
from edgeclf_benchmarks.page.marks import badge

_SIGNS = {"pass": "✓ pass", "fail": "✗ fail", "inconclusive": "? inconclusive"}
_PROSE = 32  # characters
_WITH_INTERVAL = re.compile(r"(.*?) (\[[^\[\]]*\])(.*)")


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, headings, and rows whose first cell is their heading.

    Attributes
    ----------
    words
        Columns of words: left-aligned and wrapped. All others hold figures: right-aligned, never wrapped.
    marks
        For each row the number of the entry it is of, whose mark stands before the heading; (): none.
    across
        For each heading the number of the entry that the column is of, or None; (): none.
    long
        Cells hold commands and hashes, which may break anywhere.
    stacks
        On a narrow screen each row becomes a block, with the heading above each cell, instead of scrolling: for tables
        that are read row by row.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    marks: tuple[int, ...] = ()
    across: tuple[int | None, ...] = ()
    long: bool = False
    stacks: bool = False


def to_html(table: Table) -> str:
    """With scopes, in a region that the keyboard can scroll."""
    across = table.across or (None,) * len(table.headings)
    marks = table.marks or (None,) * len(table.rows)
    kinds = [_kind(table, place) for place in range(len(table.headings))]
    head = "".join(map(_heading, table.headings, across, kinds))
    body = "".join(_row(row, mark, kinds) for row, mark in zip(table.rows, marks, strict=True))
    if table.stacks:
        body = "".join(_stacked(row, table.headings, kinds) for row in table.rows)
        head = head.replace("<th ", '<th role="columnheader" ')
    shape = "stacks" if table.stacks else "long" if table.long else ""
    return scrolling(table.caption, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>", kind=shape)


def _kind(table: Table, place: int) -> str:
    """Columns with sentences are wider than those with a word or two, so that no row becomes very tall."""
    if place and table.headings[place] not in table.words:
        return ""
    longest = max((len(row[place]) for row in table.rows), default=0)
    return "words prose" if place and longest > _PROSE else "words"


def scrolling(caption: str, content: str, *, kind: str = "") -> str:
    """The content of a table in a region of its own, which scrolls, with a hint, where the screen is narrower."""
    label = text(caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table role="table" class="{kind}">'
        f'<caption><span>{label} <span class="hint" aria-hidden="true">scroll →</span></span></caption>'
        f"{content}</table></div>"
    )


def _heading(heading: str, number: int | None, kind: str) -> str:
    """A column of an entry is headed by its mark; its name is there for screen readers and as a tooltip."""
    if number is None:
        return f'<th scope="col" class="{kind}">{text(heading).replace(" %]", "&nbsp;%]")}</th>'
    shown = text(heading)
    return f'<th scope="col" title="{shown}">{badge(number)}<span class="visually-hidden">{shown}</span></th>'


def _row(row: Sequence[str], mark: int | None, kinds: Sequence[str]) -> str:
    first = (
        name(row[0]) if mark is None else f'<span class="named">{badge(mark)}<span>{_row_name(row[0])}</span></span>'
    )
    cells = "".join(
        f'<td class="{kind}">{_text_cell(cell)}</td>' if kind else f"<td>{_figure(cell)}</td>"
        for cell, kind in zip(row[1:], kinds[1:], strict=True)
    )
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _stacked(row: Sequence[str], headings: Sequence[str], kinds: Sequence[str]) -> str:
    """A row whose cells can stand below their headings; its roles are written out, as blocks have none of a table's."""
    shown = [_text_cell(cell) if kind else _figure(cell) for cell, kind in zip(row[1:], kinds[1:], strict=True)]
    cells = "".join(
        f'<td role="cell" data-heading="{text(heading)}" class="{kind}">{cell}</td>'
        for heading, cell, kind in zip(headings[1:], shown, kinds[1:], strict=True)
    )
    return f'<tr role="row"><th scope="row" role="rowheader">{name(row[0])}</th>{cells}</tr>'


def _row_name(entry: str) -> str:
    """A row's name, and below it its machine where there are several."""
    row, at, machine = entry.partition(" @ ")
    return f'{name(row)} <span class="interval">{name(at.lstrip() + machine)}</span>' if at else name(row)


def _text_cell(cell: str) -> str:
    """A verdict gets its sign and colour: colour alone is not enough for everybody, nor in print."""
    return _verdict(cell) if cell in _SIGNS else name(cell)


def _verdict(verdict: str) -> str:
    return f'<span class="{verdict}">{_SIGNS[verdict]}</span>'


def _figure(cell: str) -> str:
    """The interval of a figure goes below it, so that the figures of a column stand in line."""
    found = _WITH_INTERVAL.fullmatch(cell)
    if found is None:
        return f'<span class="none">{text(cell)}</span>' if cell == "n/a" else text(cell)
    figure, interval, rest = map(text, found.groups())
    return f'{figure}{rest} <span class="interval">{interval}</span>'


def to_markdown(table: Table) -> str:
    """The table as GitHub reads it, below its caption; figures are right-aligned."""
    figures = [place for place, each in enumerate(table.headings) if place and each not in table.words]
    return f"{markdown(table.caption)}:\n\n" + markdown_table(table.headings, table.rows, right=figures)
