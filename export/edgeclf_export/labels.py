"""Class names: from a file, or ImageNet's where a backbone has its 1,000 classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeclf_runtime.errors import DataError

IMAGENET_CLASSES = 1000


def read_labels(path: Path) -> tuple[str, ...]:
    """Names in class order from a JSON list, or from a text file with one name a line. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; wanted a text file with one class name a line") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    names = _parse_json(text, path) if text.lstrip().startswith("[") else text.split("\n")
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{path}: holds no names; wanted one class name a line")
    if not all(names):
        raise DataError(f"{path}: name {names.index('') + 1} of {len(names)} is empty; wanted one class name a line")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: the class {repeated[0]!r} is there {names.count(repeated[0])} times")
    return tuple(names)


def _parse_json(text: str, path: Path) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: starts with '[' and is no JSON list of names ({error})") from error
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: wanted a JSON list of names, found one that holds something else than text")
    return list(names)


def shown_labels(labels: Sequence[str]) -> str:
    """ "3 labels ('apple', 'pear', 'fig')", the first two and the last of many: what a file was read as."""
    names = [repr(label) if len(label) <= 40 else repr(label[:40]) + "…" for label in labels]
    listed = names if len(names) <= 4 else [*names[:2], "…", names[-1]]
    return f"{len(names)} {'label' if len(names) == 1 else 'labels'} ({', '.join(listed)})"


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
