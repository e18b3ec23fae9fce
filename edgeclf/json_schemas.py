"""JSON Schemas of what verbs print with --json, made from the types that they print.

`python -m edgeclf.json_schemas` writes them to docs/schemas/, one file a document (https://json-schema.org, 2020-12).
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgeclf.console import JSON_SCHEMA
from edgeclf.image_steps import Step
from edgeclf_benchmarks.comparing.compare import Compared, Finding
from edgeclf_export.exporter import Exported
from edgeclf_export.failures import Failed
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.json_fields import is_later, json_names

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLACE = Path("docs/schemas")
_BUNDLE_OF_EXPORT: dict[str, Any] = {
    "path": str,
    "bytes": int,
    "target": str,
    "state": str,
    "checks": tuple[str, ...],
    "proof": Proof,
}
_SOURCE: dict[str, Any] = {"backbone": str, "weights": str, "classes": int}
_SOURCE |= {"pixels": Pixels | None, "normalization": Normalization | None, "pixels_from": str}

# (verb, fields) by the name of the document; a mapping is an object, as a dataclass is
DOCUMENTS: dict[str, tuple[str | None, Mapping[str, Any]]] = {
    "predict": (
        "predict",
        {
            "bundle": dict[str, Any],
            "predictions": tuple[Prediction, ...],
            **{name: int for name in ("images", "errors", "others", "empty_folders")},
            "finished": bool,
        },
    ),
    "prediction": ("predict", {"prediction": Prediction}),
    "verify": (
        "verify",
        {"bundle": dict[str, Any], "signature": dict[str, Any] | None, "proof": Proof, "saved_at": str | None},
    ),
    "export": (
        None,  # zeroshot prints it too
        {
            "source": _SOURCE,
            "bundles": [{**_BUNDLE_OF_EXPORT, "ladder": get_type_hints(Exported)["ladder"]}],
            "failed": tuple[Failed, ...],
            **dict.fromkeys(("triton", "android", "ovms", "deepstream"), tuple[str, ...]),
        },
    ),
    "compare": (
        "compare",
        {
            "verdict": tuple[Finding, ...],
            "gates": get_type_hints(Compared)["gates"],
            "sources": tuple[tuple[str, ...], ...],
            "written": str | None,
        },
    ),
    "inspect-image": ("inspect", {"image": str, "steps": tuple[Step, ...], "notes": tuple[str, ...]}),
    "error": (None, {"error": {"message": str, "exit_code": int}}),
}


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a document. Whatever it does not name, the document does not have."""
    verb, described = DOCUMENTS[name]
    defined: dict[str, Any] = {}
    content = _object({**described}, defined)
    first = {"schema": {"const": JSON_SCHEMA}, "verb": {"type": "string"} if verb is None else {"const": verb}}
    content = {**content, "properties": {**first, **content["properties"]}, "required": [*first, *content["required"]]}
    return {"$schema": DRAFT, "title": name, **content, "$defs": dict(sorted(defined.items()))}


def _schema(kind: Any, defined: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; dataclasses go into `defined`, once."""
    if isinstance(kind, Mapping):
        return _object(kind, defined)
    if isinstance(kind, list):
        return {"type": "array", "items": _schema(kind[0], defined)}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in defined:
            defined[kind.__name__] = {}  # first, for a type that holds itself
            hints = get_type_hints(kind)
            described = _object({name: hints[each.name] for each in fields(kind) for name in json_names(each)}, defined)
            always = {each.name for each in fields(kind) if not is_later(each) and json_names(each) == (each.name,)}
            described["required"] = [name for name in described["required"] if name in always]
            defined[kind.__name__] = described
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each, defined) for each in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _schema(inner[0], defined)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_schema(each, defined) for each in inner], "items": False}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inner[1], defined)}
    return _PLAIN[kind]


def _object(described: Mapping[str, Any], defined: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _schema(kind, defined) for name, kind in described.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_PLAIN: dict[Any, dict[str, Any]] = {
    Any: {},
    str: {"type": "string"},
    Path: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # JSON has neither NaN nor infinity
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        (PLACE / f"{name}.schema.json").write_text(json.dumps(schema_of(name), indent=1) + "\n")


if __name__ == "__main__":
    main()
