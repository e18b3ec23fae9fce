"""The words of a zero-shot classifier: labels from words or a file, templates, and the prompts that they make."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf_export.sources.clip.library import import_open_clip
from edgeclf_export.sources.labels import read_labels
from edgeclf_runtime.errors import DataError, UsageError

PLACE = "{}"
DEFAULT_TEMPLATE = "a photo of a {}."
_SETS = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}


@dataclass(frozen=True, slots=True)
class Templates:
    """Sentences with {} in the place of a label, and where they come from."""

    sentences: tuple[str, ...]
    source: str

    def prompts(self, label: str) -> tuple[str, ...]:
        return tuple(sentence.replace(PLACE, label) for sentence in self.sentences)


def read_words(given: Sequence[str]) -> tuple[str, ...]:
    """Labels from words, separated by commas or given one by one, or from one file with a name a line.

    Raises UsageError for none, an empty or a repeated one, and DataError for a file that is missing or can't be used.
    """
    if len(given) == 1 and _is_file(given[0]):
        return read_labels(Path(given[0]))
    words = [word.strip() for text in given for word in text.split(",")]
    if not any(words):
        raise UsageError('no labels; give words as "daisy,rose,tulip", or a file with a name a line')
    if not all(words):
        raise UsageError(f"label {words.index('') + 1} of {len(words)} is empty; give words as daisy,rose,tulip")
    if repeated := [word for word, count in Counter(words).items() if count > 1]:
        raise UsageError(f"the label {repeated[0]!r} occurs more than once; each class needs a name of its own")
    return tuple(words)


def _is_file(text: str) -> bool:
    """Whether a text is a file's name, or looks like one: reading it then reports that it is missing."""
    return "," not in text and (Path(text).is_file() or "/" in text or text.endswith((".txt", ".json")))


def read_templates(given: str | None) -> Templates:
    """Templates by the name of a set ("imagenet", "simple"), as one sentence with {}, or from a file with one a line.

    None: "a photo of a {}.". Raises UsageError or DataError for what has no {} to put a label in.
    """
    if given is None:
        return Templates((DEFAULT_TEMPLATE,), "default")
    if given in _SETS:
        templates = getattr(import_open_clip(), _SETS[given])
        return Templates(tuple(template(PLACE) for template in templates), given)
    if PLACE in given:
        return Templates((given,), "given")
    path = Path(given)
    if not path.is_file():
        raise UsageError(
            f"no templates {given!r}; give {', '.join(_SETS)}, a sentence such as {DEFAULT_TEMPLATE!r}, or a file with "
            "one a line"
        )
    try:
        sentences = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as UTF-8 text ({error})") from error
    if not sentences:
        raise DataError(f"{path}: holds no templates; wanted sentences such as {DEFAULT_TEMPLATE!r}, one a line")
    if wrong := [sentence for sentence in sentences if PLACE not in sentence]:
        raise DataError(f"{path}: {wrong[0]!r} has no {PLACE} to put a label in; write it as {DEFAULT_TEMPLATE!r}")
    return Templates(tuple(sentences), path.name)


def prompts_digest(labels: Sequence[str], templates: Templates) -> str:
    """SHA-256 over all prompts as JSON, a list of each label's in the order of the templates."""
    texts = [templates.prompts(label) for label in labels]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()
