"""The yardstick: fixed loads that are timed in the rounds of every bench, so that reports of two runs can be compared.

For each engine in use a small fixed network on that engine, opened as bundles are, and a fixed load of numpy for all.
If these become slower, the machine became slower, not a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.contenders import Opened
from edgeclf_benchmarks.measuring.timing import Latency
from edgeclf_benchmarks.measuring.yardstick_network import (
    CHANNELS,
    FILES,
    INPUT,
    OUTPUT,
    SIDE,
    VERSION,
    network_input,
    torch_network,
)
from edgeclf_runtime.backends import torch_module
from edgeclf_runtime.backends.engine import OWN_DEVICE, SessionOptions
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import Golden
from edgeclf_runtime.bundle.manifest import FileEntry, Manifest, Provenance, Reference, TensorSpec
from edgeclf_runtime.bundle.proof import TOLERANCES
from edgeclf_runtime.errors import EdgeclfError
from edgeclf_runtime.session import open_session

NUMPY = "numpy"
_PREFIX = "yardstick "
_TORCH = torch_module.BACKEND.name
_ENGINES = (*FILES, _TORCH)
NAMES = tuple(_PREFIX + each for each in (*_ENGINES, NUMPY))  # reserved: no row may have them
_FLOATS = 1 << 18  # 1 MiB


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A fixed load, timed in the rounds at the batch size and threads that rows are compared at.

    Attributes
    ----------
    target
        The engine, by the name of the target whose bundles it runs ("onnx", "openvino", "pytorch"); or "numpy".
    engine
        Its name and version.
    version
        Of the load; times of different ones can't be compared.
    latency
        Of one call, batch 1; stage "infer".
    """

    target: str
    engine: str
    version: int
    latency: Latency


@dataclass(frozen=True, slots=True)
class EngineYardstick:
    """The fixed network on the engine of `target`, in fp32 and with the session options of the rows."""

    target: str
    engine: str = ""
    largest_batch: int | None = None

    @property
    def name(self) -> str:
        return _PREFIX + self.target

    def open(self, options: SessionOptions) -> Opened:
        options = replace(options, compute_precision=None, cache=None)
        if self.target == _TORCH:
            return _open_torch(options)
        session = open_session(_bundle(self.target), options)
        return Opened(_fixed, session, session.close, session.compute_precision, session.facts)


@dataclass(frozen=True, slots=True)
class NumpyYardstick:
    """Arithmetic and sorting of one MiB in numpy, in one thread: no engine, no BLAS."""

    target: str = NUMPY
    engine: str = f"numpy {np.__version__}"
    name: str = _PREFIX + NUMPY
    largest_batch: int | None = None

    def open(self, options: SessionOptions) -> Opened:
        wave = np.sin(1.7 * np.arange(1, _FLOATS + 1)).astype(np.float32)

        def infer(batch: NDArray[np.float32]) -> NDArray[np.floating]:
            values = wave
            for _ in range(4):
                values = np.float32(0.5) * values + np.abs(wave - values)
            return np.sort(values)

        info = {"engine": "numpy", "engine_version": np.__version__, "device": "cpu", "threads": "1"}
        return Opened(_fixed, infer, lambda: None, "fp32", info)


ContenderYardstick = EngineYardstick | NumpyYardstick


def usable_yardsticks(
    targets: Iterable[str], options: SessionOptions
) -> tuple[tuple[ContenderYardstick, ...], dict[str, str]]:
    """Yardsticks of the engines in use, and why an engine that should have one has none."""
    usable: list[ContenderYardstick] = []
    lacking = {}
    for target in dict.fromkeys(targets):
        if target not in _ENGINES:
            continue  # numpy's own, or an engine that takes minutes to build
        try:
            opened = EngineYardstick(target).open(options)
        except EdgeclfError as error:
            lacking[target] = str(error)
            continue
        usable.append(EngineYardstick(target, f"{opened.engine['engine']} {opened.engine['engine_version']}"))
        opened.close()
    return (*usable, NumpyYardstick()), lacking


def _fixed(_: Sequence[bytes]) -> NDArray[np.float32]:
    """Whatever the images are: the load is always the same."""
    return network_input()


def _open_torch(options: SessionOptions) -> Opened:
    import torch

    device = "cpu" if options.device == OWN_DEVICE else options.device
    torch.set_num_threads(options.threads_per_stream)
    info = {"engine": "torch", "engine_version": torch.__version__, "device": device}
    return Opened(_fixed, torch_network(device), lambda: None, "fp32", info)


def _bundle(target: str) -> Bundle:
    """A bundle in memory that the runtime opens like any other."""
    files = FILES[target]()
    manifest = Manifest(
        task="embed-image",
        state="built",
        target=target,
        inputs=(TensorSpec(INPUT, "float32", "NCHW", ("batch", CHANNELS, SIDE, SIDE)),),
        outputs=(TensorSpec(OUTPUT, "float32", "NC", ("batch", CHANNELS)),),
        labels=(),
        scores="softmax",
        pixels=None,
        normalization=None,
        weights_precision="fp32",
        compute_precision="fp32",
        tolerances=TOLERANCES["fp32"],
        provenance=Provenance("yardstick", f"version {VERSION}", "2026-11-26T00:00:00Z", {}),
        reference=Reference("yardstick", f"version {VERSION}"),
        golden=Golden((), ""),
        files={name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()},
    )
    return Bundle(Path(_PREFIX + target), _InMemory({MANIFEST: manifest.to_bytes(), **files}))


@dataclass(frozen=True, slots=True)
class _InMemory:
    """Files of a bundle that lies on no disk."""

    files: dict[str, bytes]

    def sizes(self) -> dict[str, int]:
        return {name: len(data) for name, data in self.files.items()}

    def read(self, path: str) -> bytes:
        return self.files[path]
