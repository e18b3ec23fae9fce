"""OpenVINO backend: IR from memory, the precision always requested by name, one infer request per thread and shape."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend, Installed
from edgeclf_runtime.backends.engine import SessionOptions, check_outputs, check_shape
from edgeclf_runtime.backends.forked import left_to_parent
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import TensorSpec
from edgeclf_runtime.errors import BackendError, BundleError, one_line
from edgeclf_runtime.machine.signal_stack import signal_stack_kept

if TYPE_CHECKING:
    import openvino

MODEL, WEIGHTS = "model.xml", "model.bin"
HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32", "mixed": "f32"}
_MOST_COPIES_MB = 512  # of a bundle whose threads have a model each; those of a larger one share it
_MOST_SIZES = 3  # of batches: each is compiled, and takes memory
_STORED = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "f64": "fp64", "i8": "int8", "u8": "int8"}
_FIRST_ARRAY = threading.Lock()
_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class OvEngine:
    """A model compiled for one item, and on demand for the first sizes of batches: fixed shapes are faster (2 to 21 %).

    Fewer than such a size are padded, or run one by one; what is larger than all of them runs in a shape left open.

    Requests are not shared between threads: a busy one gave wrong outputs (seen in 2026.4). Nor is the model, unless
    `shared`: threads that each decode and infer run 7 to 10 % more images with models of their own.
    """

    def __init__(
        self,
        single: openvino.CompiledModel,
        compile_for: Callable[[int | None], openvino.CompiledModel],
        precision: str,
        facts: dict[str, str],
        *,
        shared: bool,
        compile_s: float,
    ) -> None:
        self._compile_for = compile_for
        self.compile_s = compile_s
        self._sizes: list[int] = []  # of batches, that have a shape of their own; ascending
        self._shared = shared
        self._compiled: dict[int | None, openvino.CompiledModel] = {1: single}
        self._lock = threading.Lock()
        self._local = threading.local()
        self.compute_precision = precision
        self.facts = facts

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        return self._outputs(batch, 1)[0]

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, features = self._outputs(batch, 2)
        return logits, features

    def _outputs(self, batch: NDArray[np.generic], wanted: int) -> list[NDArray[np.float32]]:
        """The first `wanted` outputs, by a model of a fixed size where there is one."""
        count = len(batch)
        size = 1 if count == 1 else self._size_for(count)
        if size is None or size == count:
            return self._infer(size, batch, wanted)
        if 2 * count < size:
            alone = [self._infer(1, batch[place : place + 1], wanted) for place in range(count)]
            return [np.concatenate(column) for column in zip(*alone, strict=True)]
        padding = np.repeat(batch[-1:], size - count, axis=0)
        return [each[:count] for each in self._infer(size, np.concatenate([batch, padding]), wanted)]

    def _infer(self, size: int | None, batch: NDArray[np.generic], wanted: int) -> list[NDArray[np.float32]]:
        requests: dict[Any, Any] = self._local.__dict__  # of this thread
        if size not in requests:
            requests[size] = left_to_parent(self.model(size).create_infer_request())
        # share_inputs: no copy of the batch, which outlives the call; outputs are copied and so the caller's own
        outputs = requests[size].infer({0: np.ascontiguousarray(batch)}, share_inputs=True)
        return [outputs[place] for place in range(wanted)]

    def _size_for(self, count: int) -> int | None:
        """The least size with a shape of its own that takes `count` items; None: there is none, nor will be."""
        with self._lock:
            if count > max(self._sizes, default=0) and len(self._sizes) < _MOST_SIZES:
                self._sizes.append(count)
            return next((size for size in self._sizes if size >= count), None)

    def model(self, size: int | None) -> openvino.CompiledModel:
        """For batches of `size` (None: of any); one for all threads if they share it, else another for each call."""
        if not self._shared:
            opened = self._compiled.pop(size, None)  # the first caller takes the one that the engine was opened with
            return self._compile_for(size) if opened is None else opened
        with self._lock:
            if size not in self._compiled:
                self._compiled[size] = self._compile_for(size)
            return self._compiled[size]

    def close(self) -> None:
        self._local = threading.local()
        self._compiled.clear()


def open_engine(bundle: Bundle, options: SessionOptions) -> OvEngine:
    core = openvino_core()
    device = options.device.upper()
    if device.split(".")[0] not in {name.split(".")[0] for name in core.available_devices}:
        raise BackendError(
            f"OpenVINO finds no device {device!r} here; it has {', '.join(core.available_devices).lower()}"
        )
    precision = options.compute_precision or bundle.manifest.compute_precision
    if precision not in HINTS:
        raise BackendError(f"no precision {precision!r} for openvino; choose one of {', '.join(HINTS)}")
    settings = compile_settings(options, HINTS[precision])
    copies_mb = options.stream_count * sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e6
    alone = options.device == "cpu" and options.threads_per_stream == 1 and copies_mb <= _MOST_COPIES_MB
    if alone:
        settings |= {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 0}  # a call computes in the thread that makes it

    start = time.perf_counter()
    network = _read_network(core, bundle)
    varies, cloning = network.input(0).partial_shape[0].is_dynamic, threading.Lock()

    def compile_as(network: openvino.Model, size: int | None) -> openvino.CompiledModel:
        with _loading(bundle):
            if varies:
                shape = network.input(0).partial_shape
                shape[0] = -1 if size is None else size
                network.reshape(shape)
            return core.compile_model(network, device, settings)

    def compile_for(size: int | None) -> openvino.CompiledModel:
        with cloning:
            clone = network.clone()  # not read again: clones have their weights in common, a third of what each takes
        return compile_as(clone, size)

    single = compile_as(network, 1)
    compile_s = time.perf_counter() - start
    got = read_precision(single)
    if precision in ("int8", "mixed") and got == "fp32":
        got = precision  # the hint is about what is not quantized; the share of int8 layers is audited at export
    facts = {
        "engine": "openvino",
        "engine_version": core.get_versions(device)[device].build_number,
        "device": str(single.get_property("EXECUTION_DEVICES")[0]),
        "threads": str(options.thread_count),
    }
    shared = not alone or options.stream_count == 1
    return OvEngine(single, compile_for, got, facts, shared=shared, compile_s=compile_s)


def _check_shapes(bundle: Bundle, network: openvino.Model) -> None:
    where, manifest = f"{bundle.path}/{MODEL}", bundle.manifest
    check_shape(where, "input", _sizes(network.input(0), manifest.inputs[0]), manifest.inputs[0].shape)
    found = [_sizes(output, spec) for output, spec in zip(network.outputs, manifest.outputs, strict=False)]
    check_outputs(where, found, manifest.outputs)


def _sizes(tensor: Any, stated: TensorSpec) -> Sequence[str | int]:
    """Its dimensions, "?" for one that varies; where even their number is open, what the manifest states."""
    shape = tensor.partial_shape
    return [size.get_length() if size.is_static else "?" for size in shape] if shape.rank.is_static else stated.shape


@contextmanager
def _loading(bundle: Bundle) -> Iterator[None]:
    """What OpenVINO raises meanwhile, as a BundleError."""
    try:
        yield
    except RuntimeError as error:
        raise BundleError(f"{bundle.path}/{MODEL}: OpenVINO can't load it ({one_line(error)})") from error


def _read_network(core: openvino.Core, bundle: Bundle) -> openvino.Model:
    model = bundle.read(MODEL)
    # from the same call OpenVINO would also read ONNX, external data included
    if not model.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise BundleError(f"{bundle.path}/{MODEL}: not an OpenVINO IR (XML)")
    with _loading(bundle):
        network = core.read_model(model=model, weights=bundle.read(WEIGHTS))
        _check_shapes(bundle, network)
    return network


def count_weights(bundle: Bundle) -> dict[str, int]:
    """How many weights the IR stores in each precision: constants of two dimensions or more."""
    where = f"{bundle.path}/{MODEL}"
    counts: dict[str, int] = {}
    try:
        for layer in ElementTree.fromstring(bundle.read(MODEL)).iter("layer"):
            data = layer.find("data")
            if layer.get("type") != "Const" or data is None:
                continue
            shape = [int(size) for size in (data.get("shape") or "").split(",") if size.strip()]
            precision = _STORED.get(data.get("element_type", ""))
            if len(shape) >= 2 and precision is not None:
                counts[precision] = counts.get(precision, 0) + math.prod(shape)
    except (ElementTree.ParseError, ValueError) as error:
        raise BundleError(f"{where}: not an OpenVINO IR ({error})") from error
    return counts


def compile_settings(options: SessionOptions, precision_hint: str) -> dict[str, Any]:
    """Properties for `compile_model`. Without a hint OpenVINO takes bf16 silently where the CPU has it."""
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision_hint,
        "PERFORMANCE_HINT": options.hint.upper(),
    }
    if options.device == "cpu":
        settings["INFERENCE_NUM_THREADS"] = options.thread_count
        settings["NUM_STREAMS"] = options.stream_count
    if options.cache is not None:
        settings["CACHE_DIR"] = str(options.cache)
    return settings


def read_precision(compiled: openvino.CompiledModel) -> str:
    """What the compiled model computes in, in edgeclf's words."""
    element_type = compiled.get_property("INFERENCE_PRECISION_HINT")
    name = str(element_type.to_string())
    return _NAMES.get(name, name)


def import_openvino() -> Any:
    """The module, with its telemetry replaced by OpenVINO's own stub, fit for threads. Raises BackendError."""
    # OpenVINO falls back to its stub where this import fails; an already imported module stays.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise BACKEND.missing(error) from error
    # The bindings fill a static table of dtypes at the first inference, and run Python while they do. Two threads that
    # do so at once deadlock (seen in 2026.4): one waits for the table and holds the interpreter's lock, which the other
    # needs to fill it. So it is filled here, behind a lock that lets go of the interpreter's while it waits.
    # docs/upstream-openvino-hang.md
    with _FIRST_ARRAY:
        _ = openvino.Tensor(np.zeros(1, np.uint8)).data
    return openvino


def openvino_core() -> openvino.Core:
    """The process's one Core, with its plugins: they go with the process, and a forked child has one of its own."""
    return _core_of(import_openvino(), os.getpid())


@cache
def _core_of(module: Any, process: int) -> openvino.Core:
    core = module.Core()
    with signal_stack_kept():
        _ = core.available_devices  # loads the plugins
    return core


def _probe() -> Installed:
    openvino = import_openvino()
    return Installed(openvino.__version__, tuple(name.lower() for name in openvino_core().available_devices))


BACKEND = Backend(
    name="openvino",
    module="openvino",
    oldest="2024.3",
    extra="openvino",
    open_engine=open_engine,
    devices=("cpu", "gpu", "npu", "nvidia"),  # what its plugins are called; the last is of openvino_contrib
    count_weights=count_weights,
    load=import_openvino,
    probe=_probe,
)
