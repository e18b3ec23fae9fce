"""Names that look alike and are not: the same text in two forms of Unicode, as file systems and editors write it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def same_but_for_unicode(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two different names that are canonically the same text (Unicode Standard Annex 15); None: no such."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            return other, name
    return None


def spelt_out(name: str) -> str:
    """ "'é' (e\\u0301)": a name with the code points that it is made of, where it is more than ASCII."""
    return repr(name) if name.isascii() else f"{name!r} ({ascii(name)[1:-1]})"


def shown_names(names: Sequence[str], beside: Iterable[str]) -> list[str]:
    """The names in quotes, those that look like one `beside` them spelt out."""
    normalized = {unicodedata.normalize("NFC", name) for name in beside}
    return [spelt_out(name) if unicodedata.normalize("NFC", name) in normalized else repr(name) for name in names]
