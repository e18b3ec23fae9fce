"""Why a library refused, short enough for edgeclf's own message."""

from __future__ import annotations


def first_line(error: BaseException, length: int = 160) -> str:
    """The first line of an exception that says something, else its type."""
    lines = (" ".join(line.split()) for line in str(error).splitlines())
    line = next(filter(None, lines), type(error).__name__)
    return line if len(line) <= length else line[:length] + " …"
