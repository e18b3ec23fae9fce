"""The step from torch to ONNX with a memory: the same network, with the same options, is exported once a test session.

A third of such an export is torch building its table of translations, which is remembered apart. Where the export
itself is the question, take the fixture `real_export`.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from edgeclf_export.sources import modules
from edgeclf_export.sources.clip import encoders

TO_ONNX = modules.to_onnx
PLACES = (modules, encoders)  # that call it by this name
_KNOWN: dict[bytes, bytes] = {}


class _Fingerprint(pickle.Pickler):
    """A module as bytes that follow from its classes, their code, its attributes and weights; never read back."""

    def reducer_override(self, thing: Any) -> Any:
        import torch

        if isinstance(thing, torch.Tensor):
            weights = hashlib.sha256(thing.detach().contiguous().numpy().tobytes()).digest()
            return tuple, ((str(thing.dtype), tuple(thing.shape), thing.stride(), weights),)
        if isinstance(thing, ModuleType):
            return str, (thing.__name__,)
        if isinstance(thing, FunctionType):
            cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
            kept = [(name, cell.cell_contents) for name, cell in cells if name != "__class__"]
            return tuple, ((thing.__module__, thing.__qualname__, _code(thing.__code__), kept, thing.__defaults__),)
        if isinstance(thing, type) and "<locals>" in thing.__qualname__:
            methods = [each for each in vars(thing).values() if isinstance(each, FunctionType)]
            return tuple, ((thing.__module__, thing.__qualname__, thing.__bases__, methods),)
        return NotImplemented


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return code.co_code, code.co_names, constants


def fingerprint(*things: Any) -> bytes | None:
    """Of modules and options; None where something in them has no bytes."""
    buffer = io.BytesIO()
    pickler = _Fingerprint(buffer)
    pickler.fast = True  # equal things give equal bytes, be they one object or two
    try:
        pickler.dump(things)
    except (pickle.PicklingError, AttributeError, NotImplementedError, RecursionError, TypeError, ValueError):
        return None
    return hashlib.sha256(buffer.getvalue()).digest()


def remember_exports(patch: pytest.MonkeyPatch) -> None:
    """Puts the memory in front of `to_onnx` in all of PLACES, until `patch` is undone."""

    def remembered(module: Any, sample: Any, opset: int, **names: str) -> bytes:
        remember_translations()
        entry = (str(sample.dtype), tuple(sample.shape))  # what is traced does not depend on its values
        key = fingerprint(module, entry, opset, sorted(names.items()))
        if key is None:
            return TO_ONNX(module, sample, opset, **names)
        if key not in _KNOWN:
            _KNOWN[key] = TO_ONNX(module, sample, opset, **names)
        return _KNOWN[key]

    for place in PLACES:
        patch.setattr(place, "to_onnx", remembered)


@cache
def remember_translations() -> None:
    """Torch's table of them is made once in this process; nothing changes it afterwards."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
