"""Class names: from a text, JSON, YAML or CSV file, or ImageNet's where a backbone has its 1,000 classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edgeclf_export.sources.label_files import parse_csv, parse_json, parse_yaml
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.text.unicode_forms import same_but_for_unicode, spelt_out

IMAGENET_CLASSES = 1000
_YAML_STARTS = ("names:", "---")


def read_labels(path: Path) -> tuple[str, ...]:
    """Names in class order: one a line, a JSON list or object, the names of a YAML file, a CSV. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; wanted a text file with one class name a line") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    names = [name.strip() for name in _parse(text, path)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"{path}: holds no names; wanted one class name a line")
    if not all(names):
        raise DataError(f"{path}: name {names.index('') + 1} of {len(names)} is empty; wanted one class name a line")
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: the class {repeated[0]!r} occurs {names.count(repeated[0])} times")
    if alike := same_but_for_unicode(names):
        raise DataError(
            f"{path}: the classes {spelt_out(alike[0])} and {spelt_out(alike[1])} differ only in their Unicode form; "
            "spell both alike, or rename one of them"
        )
    return tuple(names)


def _parse(text: str, path: Path) -> list[str]:
    ending, start = path.suffix.lower(), text.lstrip()
    if ending == ".json" or (start.startswith(("[", "{")) and ending not in (".yaml", ".yml")):
        return parse_json(text, path)
    if ending in (".yaml", ".yml") or start.startswith(_YAML_STARTS):
        return parse_yaml(text, path)
    if ending in (".csv", ".tsv"):
        return parse_csv(text, path)
    return text.split("\n")


def shown_labels(labels: Sequence[str]) -> str:
    """ "3 labels ('apple', 'pear', 'fig')", the first two and the last of many: for messages."""
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
