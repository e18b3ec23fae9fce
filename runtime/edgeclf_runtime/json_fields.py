"""What the JSON of a dataclass does with a field: leaves it out at its default, or names it by what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from types import MappingProxyType
from typing import Any

# Of a field that came later, `field(default=…, metadata=LATER)`: where it holds its default, JSON leaves it out, so
# that versions that don't know it can read it, and digests stay what they were.
LATER: Mapping[str, bool] = MappingProxyType({"left out at its default": True})
_BY, _NAMES = "named by", "names"


def is_later(field: Field[Any]) -> bool:
    """Whether JSON leaves the field out where it holds its default."""
    return bool(field.metadata) and field.metadata == LATER


def named_by(decides: str, names: Mapping[str, str]) -> Mapping[str, Any]:
    """Metadata of a field that JSON names by what another field, `decides`, holds: `names` maps that to the name.

    Any of the names is read: earlier versions had one for all.
    """
    return MappingProxyType({_BY: decides, _NAMES: names})


def json_names(field: Field[Any]) -> tuple[str, ...]:
    """The names that JSON may have for the field: its own, unless it is `named_by` another."""
    return tuple(field.metadata[_NAMES].values()) if _NAMES in field.metadata else (field.name,)


def json_name(field: Field[Any], record: object) -> str:
    """The name that the JSON of this record has for the field."""
    if _NAMES not in field.metadata:
        return field.name
    return str(field.metadata[_NAMES][getattr(record, field.metadata[_BY])])
