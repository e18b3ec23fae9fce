"""Frozen dataclasses to and from JSON, strictly: an unknown, missing or mistyped field is an error with its path."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.json_fields import is_later, json_name, json_names

T = TypeVar("T")
Reader = Callable[[Any], Any]
_MOST_DIGITS = 40


class _Misfit(Exception):
    """What is wrong with a value; each level on the way up puts its own step before the path."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = ""

    def within(self, step: str) -> _Misfit:
        self.path = step + self.path
        return self


def to_json(value: Any) -> Any:
    """The JSON form of a record: dataclasses become objects, tuples become lists; None is kept, but in LATER fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        kept = ((field, item) for field, item in found if not (is_later(field) and item == field.default))
        return {json_name(field, value): to_json(item) for field, item in kept}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def parse_json(data: bytes | str) -> Any:
    """The JSON value in `data`.

    Raises ValueError for damage, for nesting so deep that Python can't follow it, and for whole numbers of so many
    digits that they are no float either.
    """
    try:
        return json.loads(data, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def from_json(kind: type[T], value: Any, where: str) -> T:
    """The record of type `kind` that `value` (parsed JSON) describes; `where` opens the message of an error."""
    try:
        return typing.cast(T, _reader_of(typing.cast(Any, kind))(value))
    except _Misfit as misfit:
        raise DataError(f"{where}{misfit.path}: {misfit.message}") from misfit.__cause__
    except RecursionError as error:  # what json.loads just took may be too deep to be shown
        raise DataError(f"{where}: nested too deeply") from error


@functools.cache
def _reader_of(kind: Any) -> Reader:
    """What turns a JSON value into a `kind`, or raises _Misfit. Made once a type: split files have a million rows."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record_reader(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(arguments)
    if origin is typing.Literal:
        return _literal_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is dict:
        return _dict_reader(_reader_of(arguments[1]))
    return _finite if kind is float else _plain_reader(kind)


@functools.cache
def _names_of(kind: Any) -> frozenset[str]:
    return frozenset(name for field in dataclasses.fields(kind) for name in json_names(field))


def _record_reader(kind: type[Any]) -> Reader:
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    names = {name: field.name for field in fields for name in json_names(field)}
    readers = {name: _reader_of(hints[own]) for name, own in names.items()}
    none = dataclasses.MISSING
    needed = [json_names(f) for f in fields if f.default is none and f.default_factory is none]
    required, either = {each[0] for each in needed if len(each) == 1}, [each for each in needed if len(each) > 1]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mistyped("an object", value)
        if unknown := value.keys() - readers.keys():
            raise _Misfit(f"unknown field {min(unknown)!r}; known are {', '.join(readers)}")
        if missing := required - value.keys():
            raise _Misfit(f"the field {min(missing)!r} is missing")
        for each in either:
            if len(value.keys() & set(each)) != 1:
                raise _Misfit(f"wanted one field of {', '.join(each)}")
        decoded = {}
        name = ""
        try:
            for name, item in value.items():
                decoded[names[name]] = readers[name](item)
        except _Misfit as misfit:
            raise misfit.within(f".{name}") from misfit.__cause__
        try:
            return kind(**decoded)
        except ValueError as error:
            raise _Misfit(str(error)) from error

    return read


def _union_reader(arguments: tuple[Any, ...]) -> Reader:
    optional = type(None) in arguments
    *simple, last = (kind for kind in arguments if kind is not type(None))
    records: list[Any] = [kind for kind in (*simple, last) if dataclasses.is_dataclass(kind)]

    def read(value: Any) -> Any:
        if (value is None and optional) or type(value) in simple:
            return value
        if isinstance(value, dict) and records:  # told apart by their fields
            return _reader_of(max(records, key=lambda kind: len(value.keys() & _names_of(kind))))(value)
        return _reader_of(last)(value)

    return read


def _literal_reader(choices: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in choices:
            raise _mistyped("one of " + ", ".join(map(str, choices)), value)
        return value

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> Reader:
    any_length = arguments[-1] is Ellipsis
    readers = [_reader_of(kind) for kind in arguments if kind is not Ellipsis]

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _mistyped("a list", value)
        if not any_length and len(readers) != len(value):
            raise _Misfit(f"wanted {len(readers)} items, found {len(value)}")
        decoded: list[Any] = []
        try:
            for reader, item in zip(itertools.cycle(readers) if any_length else readers, value, strict=False):
                decoded.append(reader(item))
        except _Misfit as misfit:
            raise misfit.within(f"[{len(decoded)}]") from misfit.__cause__
        return tuple(decoded)

    return read


def _dict_reader(read_item: Reader) -> Reader:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mistyped("an object", value)
        decoded = {}
        key = ""
        try:
            for key, item in value.items():
                decoded[key] = read_item(item)
        except _Misfit as misfit:
            raise misfit.within(f".{key}") from misfit.__cause__
        return decoded

    return read


def _finite(value: Any) -> float:
    # NaN would pass every comparison with a tolerance, and 1e999 is read as infinite
    if type(value) not in (int, float):
        raise _mistyped("float", value)
    if not abs(value) <= sys.float_info.max:
        raise _mistyped("a finite number", value)
    return float(value)


def _plain_reader(kind: type[Any]) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _mistyped(kind.__name__, value)
        return value

    return read


def _mistyped(wanted: str, found: Any) -> _Misfit:
    return _Misfit(f"wanted {wanted}, found {found!r:.80}")
