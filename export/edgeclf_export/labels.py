"""Class names: from a file, or ImageNet's where a backbone has its 1,000 classes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from edgeclf_runtime.errors import DataError

IMAGENET_CLASSES = 1000


def read_labels(path: Path) -> tuple[str, ...]:
    """Names in class order from a JSON list, or from a text file with one name a line. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no labels file ({error}); wanted UTF-8 text with one class a line") from error
    names = json_names(text, path) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise DataError(f"{path}: line {names.index('') + 1 if names else 1} is empty; wanted one class name a line")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: the class {repeated[0]!r} is there {Counter(names)[repeated[0]]} times")
    return tuple(names)


def json_names(text: str, path: Path) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not a JSON list of names ({error})") from error
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: a JSON list of names holds something else than text")
    return [name.strip() for name in names]


def default_labels(classes: int) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, else class_0, class_1, …"""
    if classes != IMAGENET_CLASSES:
        return tuple(f"class_{i}" for i in range(classes))
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    descriptions = [info.index_to_description(i) for i in range(classes)]
    names = [description.split(",")[0] for description in descriptions]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    # two cranes, two maillots: the WordNet id tells them apart
    return tuple(
        f"{name} ({info.index_to_label_name(i)})" if name in repeated else name for i, name in enumerate(names)
    )
