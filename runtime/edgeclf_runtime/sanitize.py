"""Text from outside (file names, labels) as text that no terminal and no page obeys."""

from __future__ import annotations

_JOINERS = "\u200c\u200d\u00a0\u3000"  # joiners and spaces that names in several scripts need


def inert(text: str) -> str:
    """`text` with all that a terminal would obey, or that can't be printed, as an escape such as \\x1b or \\u202e."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _JOINERS else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode()
