"""Class names in files of other tools: JSON lists and objects, YAML with `names:`, CSV with or without a header."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeclf_runtime.errors import DataError, one_line

_MOST_DIGITS = 9  # of a class's number
_KEYS = ("names", "id2label", "labels", "classes", "class_names", "categories", "class_to_idx", "label2id")
_NAME_COLUMNS = (
    "name",
    "label",
    "class",
    "class_name",
    "classname",
    "label_name",
    "species",
    "category",
    "display_name",
)
_NUMBER_COLUMNS = ("id", "index", "idx", "class_id", "class_idx", "class_index", "label_id", "number")


def parse_json(text: str, path: Path) -> list[str]:
    """Names from ["cat"], {"0": "cat"}, {"cat": 0}, or one of them under a key such as "names" or "id2label".

    Quotes and keys may be those of Python: {0: 'cat'}.
    """
    start = text.lstrip()[:1]
    try:
        content = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        content = _python_literal(text) if isinstance(error, json.JSONDecodeError) else None
        if content is None:
            kind = "JSON list of names" if start == "[" else "JSON object of names"
            raise DataError(f"{path}: starts with '{start}' and is no {kind} ({error})") from error
    return _names_in(content, path, "JSON")


def _python_literal(text: str) -> Any:
    """The dict or list that a script has printed, as in the best-known file of ImageNet's names; None: it is none."""
    try:
        content = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return content if isinstance(content, (dict, list)) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key occurs twice")
    return content


def parse_yaml(text: str, path: Path) -> list[str]:
    """Names from a YAML list or mapping, or from under `names:` as in Ultralytics' data sets."""
    try:
        import yaml
    except ImportError as error:
        raise DataError(f"{path}: is YAML; save the names one a line, or: pip install pyyaml") from error
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # all texts: a class "no" stays "no"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        found = one_line(error) if mark is None else f"line {mark.line + 1}: {getattr(error, 'problem', '')}"
        raise DataError(f"{path}: not valid YAML ({found})") from error
    return _names_in(content, path, "YAML")


def parse_csv(text: str, path: Path) -> list[str]:
    """Names from the column with such a header, or the only column of text; a column of numbers gives their order."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in text.partition("\n")[0] else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error})") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        return []
    width = len(rows[0])
    if odd := next((number for number, row in enumerate(rows, 1) if len(row) != width), None):
        raise DataError(f"{path}: row {odd} has {len(rows[odd - 1])} cells, the first row has {width}")
    head = [cell.lower() for cell in rows[0]]
    has_head = any(cell in (*_NAME_COLUMNS, *_NUMBER_COLUMNS) for cell in head) and len(rows) > 1
    body = rows[1:] if has_head else rows
    numbers = [column for column in range(width) if _are_numbers([row[column] for row in body])]
    numbers = numbers if width > 1 else []  # classes that are named by a number
    texts = [column for column in range(width) if column not in numbers]
    named = [head.index(name) for name in _NAME_COLUMNS if has_head and name in head]
    if not named and len(texts) != 1:
        raise DataError(
            f"{path}: {len(texts)} of its {width} columns hold text ({', '.join(rows[0])}); give the one with the "
            "class names the header 'name'"
        )
    chosen = named[0] if named else texts[0]
    names = [row[chosen] for row in body]
    ordering = [column for column in numbers if column != chosen]
    ordering = [column for column in ordering if has_head and head[column] in _NUMBER_COLUMNS] or ordering
    return (
        _ordered([(row[ordering[0]], name) for row, name in zip(body, names, strict=True)], path) if ordering else names
    )


def _names_in(content: Any, path: Path, kind: str) -> list[str]:
    while isinstance(content, Mapping):
        found = next((key for key in _KEYS if isinstance(content.get(key), (list, dict))), None)
        if found is None:
            return _names_by_number(content, path, kind)
        content = content[found]
    if not isinstance(content, list):
        raise DataError(f"{path}: wanted a {kind} list or object of names, found {_shown(content)}")
    if content and all(isinstance(item, Mapping) and "name" in item for item in content):
        pairs = [(item.get("id", item.get("index", place)), item["name"]) for place, item in enumerate(content)]
        return _ordered([(number, _text(name, path, kind)) for number, name in pairs], path)
    return [_text(name, path, kind) for name in content]


def _names_by_number(content: Mapping[Any, Any], path: Path, kind: str) -> list[str]:
    """{"0": "cat"}, {"0": ["n02123045", "tabby"]} as Keras has it, or {"cat": 0} as torchvision has it."""
    if not content:
        return []
    if _are_numbers(list(content)):
        named = {key: value[1] if _is_id_and_name(value) else value for key, value in content.items()}
        return _ordered([(key, _text(value, path, kind)) for key, value in named.items()], path)
    if _are_numbers(list(content.values())):
        return _ordered([(number, str(name)) for name, number in content.items()], path)
    raise DataError(
        f'{path}: wanted a {kind} object of numbers and names such as {{"0": "cat"}}, found one with the keys '
        f"{', '.join(map(repr, list(content)[:3]))}"
    )


def _is_id_and_name(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def _are_numbers(values: list[Any]) -> bool:
    """Whether all are whole numbers, as numbers or in ASCII digits."""
    return all((isinstance(value, int) and not isinstance(value, bool)) or _are_digits(value) for value in values)


def _are_digits(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS


def _ordered(pairs: list[tuple[Any, str]], path: Path) -> list[str]:
    """The names by their numbers, which count from 0 without a gap. Raises DataError."""
    if not _are_numbers([number for number, _ in pairs]):
        raise DataError(f"{path}: wanted whole numbers for the classes, found {_shown(pairs[0][0])}")
    numbered = sorted((int(number), name) for number, name in pairs)
    numbers = [number for number, _ in numbered]
    if numbers != list(range(len(numbers))):
        raise DataError(
            f"{path}: read {len(numbers)} names, numbered {numbers[0]} to {numbers[-1]}; wanted 0 to "
            f"{len(numbers) - 1}, each once"
        )
    return [name for _, name in numbered]


def _text(value: Any, path: Path, kind: str) -> str:
    if not isinstance(value, str):
        raise DataError(
            f"{path}: wanted a {kind} list of names, found one that holds something else than text ({_shown(value)})"
        )
    return value


def _shown(value: Any) -> str:
    """Its type; of text and numbers their start, too. Of a list of lists, `repr` alone may take gigabytes."""
    return f"{type(value).__name__} {value!r:.60}" if not isinstance(value, (list, dict)) else type(value).__name__
