"""Texts from outside in HTML and Markdown: no markup in a name takes effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape

from edgeclf_runtime.sanitize import inert

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~=@:])")
_SEPARATORS = re.compile(r"(?<=\w[-_/@])(?=\w)|(?<=\.)(?=[^\W\d])")


def text(value: str) -> str:
    """`value` as text of an HTML page, or inside an attribute's double quotes."""
    return escape(inert(value))


def name(value: str) -> str:
    """`value` as text that may be broken after separators such as hyphens, rather than in the middle of a word."""
    return "<wbr>".join(text(part) for part in _SEPARATORS.split(value))


def shortened(value: str, longest: int) -> str:
    """`value` for a place that has room for `longest` characters."""
    shown = inert(value)
    end = longest // 2  # names differ at their ends: backbone-onnx-fp32, backbone-onnx-int8
    return shown if len(shown) <= longest else f"{shown[: longest - 1 - end]}…{shown[-end:]}"


def shortened_apart(values: Sequence[str], longest: int) -> list[str]:
    """Each of the values with room for `longest` characters, or for as many more as they need to differ."""
    different = len(set(map(inert, values)))
    for room in range(longest, max(map(len, map(inert, values)), default=longest) + 1):
        shown = [shortened(value, room) for value in values]
        if len(set(shown)) == different:
            return shown
    return [inert(value) for value in values]


def markdown(value: str) -> str:
    """`value` as plain text of a Markdown file, also in a cell of a table."""
    safe = escape(inert(value), quote=False)
    return _MARKDOWN.sub(r"\\\1", safe)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """A table as GitHub reads it; the columns at the places `right` are right-aligned."""
    rule = "".join(" ---: |" if place in right else " --- |" for place in range(len(headings)))
    lines = ["| " + " | ".join(map(markdown, headings)) + " |", "|" + rule]
    lines += ["| " + " | ".join(map(markdown, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"
