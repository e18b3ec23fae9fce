"""OpenVINO with a memory: it keeps what it compiled a moment ago, by model, shape and settings.

A bundle is opened for its proof, by `verify` and by the test, and each would compile what the other has compiled.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from edgeclf_runtime.backends import ov

CORE = ov.openvino_core
_KNOWN: dict[bytes, Any] = {}
_MOST = 32  # compiled models have memory and threads of their own


class RememberingCore:
    """OpenVINO's Core, whose `compile_model` remembers networks that `read_model` read from a bundle's two files."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def read_model(self, model: Any, weights: Any = None) -> Any:
        if not isinstance(weights, bytes):
            return self._core.read_model(model) if weights is None else self._core.read_model(model, weights)
        network = self._core.read_model(model=model, weights=weights)
        return _named(network, hashlib.sha256(b"%d " % len(model) + model + weights).digest())

    def compile_model(self, network: Any, device: str, settings: dict[str, Any] | None = None) -> Any:
        if not hasattr(network, "read_from"):
            return self._core.compile_model(network, device, settings)
        shape = str(network.input(0).partial_shape)
        options = repr((shape, device, sorted((settings or {}).items())))
        key = hashlib.sha256(network.read_from + options.encode()).digest()
        if key not in _KNOWN:
            _KNOWN[key] = self._core.compile_model(network, device, settings)
            if len(_KNOWN) > _MOST:
                del _KNOWN[next(iter(_KNOWN))]
        return _KNOWN[key]


def _named(network: Any, read_from: bytes) -> Any:
    """`network`, which knows what it was read from, as its clones do."""
    clone = network.clone
    network.read_from, network.clone = read_from, lambda: _named(clone(), read_from)
    return network


def remember_compiled(patch: pytest.MonkeyPatch) -> None:
    """Puts the memory behind the openvino engine, until `patch` is undone."""
    patch.setattr(ov, "openvino_core", lambda: RememberingCore(CORE()))
