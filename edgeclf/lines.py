"""Lines of text in colour, as rich would print them, without rich: to load it takes longer than to classify an image.

Tables and bars that move are rich's business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from itertools import groupby
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}  # ECMA-48, SGR
_COLOURS = ("red", "green", "yellow")
_STANDARD_WIDTH = 80


class Line:
    """Pieces of text, each in a style: "", or words such as "bold yellow". The caller made them inert."""

    def __init__(self, text: str = "", style: str = "") -> None:
        self.pieces = [(text, style)]

    def append(self, text: str, style: str = "") -> Line:
        self.pieces.append((text, style))
        return self

    def extend(self, other: Line, style: str = "") -> Line:
        """Adds the pieces of another line, each in its own style and, before that, `style`."""
        self.pieces += [(text, f"{style} {own}".strip()) for text, own in other.pieces]
        return self

    @property
    def plain(self) -> str:
        """The text alone, without blanks at its end."""
        return "".join(text for text, _ in self.pieces).rstrip()

    def print(self, stream: TextIO) -> None:
        """Prints it at once, in colour where `stream` is a terminal that shows it."""
        shown = self._painted() if _paints(stream) else self.plain
        print(shown, file=stream, flush=True)

    def _painted(self) -> str:
        hidden = _COLOURS if os.environ.get("NO_COLOR") else ()
        left, painted = len(self.plain), ""
        for codes, pieces in groupby(self.pieces, lambda piece: _codes(piece[1], hidden)):
            text = "".join(text for text, _ in pieces)[:left]
            left -= len(text)
            painted += f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text
        return painted


def _codes(style: str, hidden: Collection[str]) -> str:
    return ";".join(code for word, code in _CODES.items() if word in style.split() and word not in hidden)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody reads along; with rich's environment variables, and https://force-color.org."""
    if (compatible := os.environ.get("TTY_COMPATIBLE")) in ("0", "1"):
        return compatible == "1"
    if (forced := os.environ.get("FORCE_COLOR")) is not None:
        return forced != ""
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def terminal_width() -> int:
    """Characters a line, 80 where no terminal says it; COLUMNS comes first."""
    if is_terminal(sys.stdout) and _is_dumb():
        return _STANDARD_WIDTH
    if (columns := os.environ.get("COLUMNS", "")).isdigit() and int(columns):
        return int(columns)
    for descriptor in range(3):
        try:
            return os.get_terminal_size(descriptor).columns or _STANDARD_WIDTH
        except OSError:  # no terminal
            continue
    return _STANDARD_WIDTH


def cell_len(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len as cells_of

    return cells_of(text)


def _paints(stream: TextIO) -> bool:
    return is_terminal(stream) and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")
