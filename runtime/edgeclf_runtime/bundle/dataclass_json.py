"""Frozen dataclasses to and from JSON, strictly: an unknown, missing or mistyped field is an error with its path."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from edgeclf_runtime.errors import DataError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """The JSON form of a record: dataclasses become objects, tuples become lists; None fields are kept."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def parse_json(data: bytes | str) -> Any:
    """The JSON value in `data`. Raises ValueError for damage, and for nesting so deep that Python can't follow it."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def from_json(kind: type[T], value: Any, where: str) -> T:
    """The record of type `kind` that `value` (parsed JSON) describes; `where` opens the message of an error."""
    try:
        return typing.cast(T, _decode(kind, value, where))
    except RecursionError as error:  # what json.loads just took may be too deep to be shown
        raise DataError(f"{where}: nested too deeply") from error


def _decode(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_record(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise _mistyped(where, "one of " + ", ".join(map(str, arguments)), value)
        return value
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _mistyped(where, "an object", value)
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float):
        # NaN would pass every comparison with a tolerance, and 1e999 is read as infinite
        if not abs(value) <= sys.float_info.max:
            raise _mistyped(where, "a finite number", value)
        return float(value)
    if type(value) is not kind:
        raise _mistyped(where, kind.__name__, value)
    return value


def _decode_record(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mistyped(where, "an object", value)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(set(value) - set(fields)):
        raise DataError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(value)):
        raise DataError(f"{where}: the field {missing[0]!r} is missing")
    decoded = {name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    try:
        return kind(**decoded)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def _decode_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    for kind in kinds[:-1]:
        if type(value) is kind:
            return value
    return _decode(kinds[-1], value, where)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mistyped(where, "a list", value)
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise DataError(f"{where}: wanted {len(arguments)} items, found {len(value)}")
    return tuple(
        _decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def _mistyped(where: str, wanted: str, found: Any) -> DataError:
    return DataError(f"{where}: wanted {wanted}, found {found!r:.80}")
