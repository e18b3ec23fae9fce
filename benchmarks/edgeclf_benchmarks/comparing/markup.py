"""HTML and Markdown of texts from outside, and tables with captions: nothing that a name holds is obeyed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from edgeclf_runtime.inert import inert

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~=@:])")


def text(value: str) -> str:
    """`value` as text of an HTML page, or inside an attribute's double quotes."""
    return escape(inert(value))


def markdown(value: str) -> str:
    """`value` as plain text of a Markdown file, also in a cell of a table."""
    safe = escape(inert(value), quote=False)
    return _MARKDOWN.sub(r"\\\1", safe)


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, kind: str = "") -> str:
    """An HTML table of plain texts, which scrolls by itself on a narrow screen; a row's first cell is its heading."""
    head = "".join(f'<th scope="col">{text(each)}</th>' for each in headings)
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="{kind}">'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


_SIGNS = {"pass": "✓ pass", "fail": "✗ fail", "inconclusive": "? inconclusive"}


def _cell(value: str) -> str:
    """A verdict gets its sign and colour: colour alone says nothing to many, and in print."""
    return f'<span class="{value}">{_SIGNS[value]}</span>' if value in _SIGNS else text(value)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as GitHub reads it."""
    lines = ["| " + " | ".join(map(markdown, headings)) + " |", "|" + " --- |" * len(headings)]
    lines += ["| " + " | ".join(map(markdown, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"
