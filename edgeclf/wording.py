"""Numbers, sizes and texts as people and JSON read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.sanitize import inert

NO_LABEL = "no label"  # of an image that may have several, and has none; CSV and JSON of predictions have an empty list


def json_ready(value: Any) -> Any:
    """The JSON form of records, with names that are no UTF-8 made inert and numbers that JSON lacks as null."""
    return _valid(to_json(value))


def _valid(value: Any) -> Any:
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return value if _is_unicode(value) else inert(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_valid(key): _valid(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_valid(item) for item in value]
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def agreement_of(task: str, *, multi_label: bool = False) -> str:
    """What a proof counts: how often the prediction is the reference's."""
    if task != "classify":
        return "nearest is itself"
    return "label agreement" if multi_label else "top-1 agreement"


def count(number: int, noun: str) -> str:
    """ "1 image", "1,200 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(found: int) -> str:
    """A number of bytes in words, decimal units."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if found >= factor:
            return f"{found / factor:.1f} {unit}"
    return count(found, "byte")


def duration(seconds: float) -> str:
    """ "40 s", "2 min 10 s", "1 h 30 min"."""
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60 // 10 * 10} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
