"""The texts of a zero-shot classifier as a CLIP model reads them: texts that it truncates, labels that become equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeclf_export.sources.clip.prompts import Templates
from edgeclf_runtime.errors import UsageError

_LONGEST_SHOWN = 40
_NOTES = 3


def check_texts(tokenizer: Any, labels: Sequence[str], templates: Templates) -> tuple[str, ...]:
    """A sentence for each text that is longer than the model reads, up to three. Raises UsageError for equal labels.

    `tokenizer` is open_clip's: texts -> (N, context) tokens.
    """
    seen: dict[bytes, str] = {}
    cut: list[str] = []
    for label in labels:
        texts = templates.prompts(label)
        rows = tokenizer(list(texts))
        where = _where_cut(tokenizer, texts, int(rows.shape[1]))
        other = seen.setdefault(rows.numpy().tobytes(), label)
        if other != label:
            raise UsageError(
                f"the labels {shown_label(other)} and {shown_label(label)} are the same text to this model "
                f"({_why_alike(other, label, where)}); leave one out, or word it differently"
            )
        if where is not None:
            cut.append(f"the text of the label {shown_label(label)} {where}")
    more = (f"so are those of {len(cut) - _NOTES} more labels",) if len(cut) > _NOTES else ()
    return (*cut[:_NOTES], *more)


def shown_label(label: str) -> str:
    """A label in quotes, its middle left out where it is long."""
    if len(label) <= _LONGEST_SHOWN:
        return repr(label)
    return repr(f"{label[: _LONGEST_SHOWN // 2]} … {label[-_LONGEST_SHOWN // 2 :]}")


def _why_alike(first: str, second: str, where: str | None) -> str:
    if where is not None:
        return f"each {where}"
    if first.casefold() == second.casefold():
        return "it ignores case"
    return "its tokenizer removes what differs"


def _where_cut(tokenizer: Any, texts: Sequence[str], context: int) -> str | None:
    """Of the longest text: its length, and where it is truncated; None where all are read whole."""
    tokens = max((_tokens_of(tokenizer, text) for text in texts), key=len)
    if len(tokens) <= context - 2:
        return None
    kept = tokenizer.decode(tokens[: context - 2]).replace("<start_of_text>", "").strip()
    shown = kept[-_LONGEST_SHOWN:]
    return f"has {len(tokens) + 2} tokens, of which the model reads {context}: it is truncated after {shown!r}"


def _tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids without start and end; none of a tokenizer that is not CLIP's own."""
    from open_clip.tokenizer import SimpleTokenizer

    return list(tokenizer.encode(text)) if isinstance(tokenizer, SimpleTokenizer) else []
