"""Plain command lines of `predict`, read without Typer: to load it takes longer than all else about one image.

Whatever is not plain, and so every error, is left to Typer: another option, one given twice, --top=5, a wrong value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeclf.verbs.shared.predicting.run import PredictRequest

# option -> field of PredictRequest
_NUMBERS = {"--top": "top", "--threads": "threads", "--streams": "streams"}  # from 1
_TEXTS = {"--batch-size": "batch_size", "-b": "batch_size", "--csv": "csv", "--device": "device"}
_FLAGS = {"--json": "as_json", "--force": "force", "--verbose": "verbose", "-v": "verbose"}


def read_plain(arguments: Sequence[str]) -> PredictRequest | None:
    """What `predict BUNDLE IMAGE...` asks for with the options above; None: Typer has to read it."""
    words = iter(arguments)
    if next(words, "") != "predict":
        return None
    places: list[str] = []
    options: dict[str, Any] = {}
    for word in words:
        if not word.startswith("-"):
            places.append(word)
            continue
        found = _option(word, words)
        if found is None or found[0] in options:
            return None
        options[found[0]] = found[1]
    if len(places) < 2 or "" in places:
        return None
    from edgeclf.verbs.shared.predicting.run import PredictRequest

    return PredictRequest(places[0], places[1:], **options)


def _option(word: str, words: Any) -> tuple[str, Any] | None:
    """The field of an option and its value, which is taken from the words behind it; None: it is not plain."""
    if word in _FLAGS:
        return _FLAGS[word], True
    value = next(words, "") if word in _NUMBERS or word in _TEXTS else ""
    if word in _TEXTS and value and not value.startswith("-"):
        return _TEXTS[word], value
    if word in _NUMBERS and value.isascii() and value.isdecimal() and 0 < int(value) < 10**9:
        return _NUMBERS[word], int(value)
    return None
