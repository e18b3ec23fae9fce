"""TensorRT backend: a built engine on the GPU it was built for, batches overlapping in two execution slots.

An engine runs here only if engine.json allows it; there is no fallback to another engine or to the CPU.
Its authors had no GPU that TensorRT-RTX runs on: see `__init__.py` beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend, Installed
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ort import MODEL, count_in_onnx
from edgeclf_runtime.backends.tensorrt.cuda import Cuda, Gpu, open_cuda
from edgeclf_runtime.backends.tensorrt.engine_info import (
    Difference,
    Place,
    check_plan,
    differences,
    place_here,
    read_engine_info,
)
from edgeclf_runtime.backends.tensorrt.execution_slot import ExecutionSlot, Tensor
from edgeclf_runtime.backends.tensorrt.library import OLDEST, RTX_MODULES, Library, check_gpu, import_tensorrt
from edgeclf_runtime.backends.tensorrt.plan import PLAN, LoadedPlan, load_plan
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, BundleError, EdgeclfError
from edgeclf_runtime.machine.facts import jetson_refusal, package_version

SLOTS = 2  # while one computes, the other's batch is copied
_GROUP = 8  # batches of a stream that go through under one lock
_DTYPES = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}


class TrtEngine:
    """A loaded engine. `infer` is called by one thread at a time; others wait, for the GPU is one."""

    def __init__(
        self, cuda: Cuda, library: Library, loaded: LoadedPlan, largest: int, precision: str, outputs: Sequence[str]
    ) -> None:
        self._cuda, self._library = cuda, library
        self._loaded: LoadedPlan | None = loaded
        self._entry, self._outputs = read_tensors(library, loaded.engine, outputs)
        self._largest = largest
        self._slots: list[ExecutionSlot] = []
        self._lock = threading.Lock()
        self.compute_precision = precision
        self.facts: dict[str, str] = {}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The engine's input, and its outputs in the manifest's order."""
        return self._entry, *self._outputs

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        return self._infer(batch)[0]

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, features = self._infer(batch)
        return logits, features

    def _infer(self, batch: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        pieces = [batch[start : start + self._largest] for start in range(0, len(batch), self._largest)]
        columns = zip(*self._through_slots(pieces), strict=True)
        return [np.concatenate(column).astype(np.float32, copy=False) for column in columns]

    def infer_stream(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """The output of each batch, in order; one is copied while another is computed. Takes a few batches ahead."""
        waiting = iter(batches)
        while group := list(islice(waiting, _GROUP)):
            small = [batch for batch in group if len(batch) <= self._largest]
            if len(small) == len(group):
                yield from (outputs[0].astype(np.float32, copy=False) for outputs in self._through_slots(group))
            else:
                yield from map(self.infer, group)

    def _through_slots(self, pieces: list[NDArray[np.generic]]) -> list[tuple[NDArray[np.generic], ...]]:
        """The outputs of each piece, in order. No slot has work left when this returns or raises."""
        with self._lock:
            self._cuda.use_gpu()
            self._open_slots(min(SLOTS, len(pieces)))
            outputs: list[tuple[NDArray[np.generic], ...]] = []
            try:
                for place, piece in enumerate(pieces):
                    slot = self._slots[place % SLOTS]
                    if place >= SLOTS:
                        outputs.append(slot.collect())
                    slot.submit(piece)
                for place in range(len(outputs), len(pieces)):
                    outputs.append(self._slots[place % SLOTS].collect())
            except BaseException:
                self._drain()
                raise
            return outputs

    def _open_slots(self, wanted: int) -> None:
        if self._loaded is None:
            raise BackendError("the TensorRT engine is closed; open the bundle again")
        while len(self._slots) < wanted:
            self._slots.append(
                ExecutionSlot(self._cuda, self._library, self._loaded.engine, self._entry, self._outputs, self._largest)
            )

    def _drain(self) -> None:
        for slot in self._slots:
            try:
                slot.drain()
            except EdgeclfError:  # of the same fault, which is on its way up already
                continue

    def close(self) -> None:
        """Frees the slots, then the engine, then its runtime."""
        with self._lock:
            while self._slots:
                self._slots.pop().close()
            self._loaded = None


def open_engine(bundle: Bundle, options: SessionOptions) -> TrtEngine:
    if refusal := jetson_refusal():
        raise BackendError(refusal)
    info = read_engine_info(bundle)
    cuda = open_cuda()
    gpu = cuda.require_gpu()  # before TensorRT is touched
    library = import_tensorrt()
    check_gpu(library, gpu)
    plan = bundle.read(PLAN)
    where = f"{bundle.path}/{PLAN}"
    here = place_here(library, gpu)
    check_plan(info, plan, where)
    found = differences(info, here)
    if refused := [difference.sentence for difference in found if difference.kind == "error"]:
        raise BackendError(stale_sentence(bundle, refused))
    loaded = load_plan(plan, where, library, lean_runtime=info.settings.version_compatible)
    manifest = bundle.manifest
    names = [output.name for output in manifest.outputs]
    opened = TrtEngine(cuda, library, loaded, info.batch[2], manifest.compute_precision, names)
    try:
        _check_tensors(bundle, opened, where)
    except EdgeclfError:
        opened.close()
        raise
    opened.facts = _session_info(here, gpu, found)
    return opened


def count_weights(bundle: Bundle) -> dict[str, int]:
    """How many weights the graph that the engine is made of stores in each precision; quantized ones count as int8."""
    return count_in_onnx(bundle, quantized_later=True) if MODEL in bundle.manifest.files else {}


def stale_sentence(bundle: Bundle, reasons: list[str]) -> str:
    return (
        f"{bundle.path} is built, but not for this machine: {'; '.join(reasons)}. Build it again with: "
        f"edgeclf build {bundle.path} --force (predict, verify, eval and bench: or give --rebuild-if-stale)"
    )


def read_tensors(library: Library, engine: Any, outputs: Sequence[str]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The one input of an engine, and its outputs of these names, in this order; a single one may have any name.

    TensorRT lists tensors in an order of its own, so that several are told apart by their names.
    """
    trt = library.module
    found: dict[bool, list[Tensor]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = str(engine.get_tensor_dtype(name)).rpartition(".")[2]
        if kind not in _DTYPES:
            raise BundleError(f"the engine's tensor {name} is of type {kind}; inputs and outputs stay uint8 or float")
        item = tuple(engine.get_tensor_shape(name))[1:]
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        found[is_input].append(Tensor(name, np.dtype(_DTYPES[kind]), item))
    if len(found[True]) != 1 or not found[False]:
        raise BundleError(f"the engine has {len(found[True])} inputs and {len(found[False])} outputs, wanted one input")
    if len(outputs) == 1:
        return found[True][0], (found[False][0],)
    named = {tensor.name: tensor for tensor in found[False]}
    if missing := [name for name in outputs if name not in named]:
        raise BundleError(
            f"the engine has no output {missing[0]!r}, it has {', '.join(named)}; export the bundle again"
        )
    return found[True][0], tuple(named[name] for name in outputs)


def _check_tensors(bundle: Bundle, opened: TrtEngine, where: str) -> None:
    """Raises BundleError where the engine has other tensors than the manifest promises."""
    for spec, tensor in zip((bundle.manifest.inputs[0], *bundle.manifest.outputs), opened.tensors, strict=True):
        if tensor.dtype != np.dtype(spec.dtype) or tensor.item != tuple(spec.shape[1:]):
            raise BundleError(
                f"{where}: {tensor.name} is {tensor.dtype} of {tensor.item} an image, the manifest says "
                f"{spec.dtype} of {tuple(spec.shape[1:])}"
            )


def _session_info(here: Place, gpu: Gpu, found: tuple[Difference, ...]) -> dict[str, str]:
    remarks = "; ".join(difference.sentence for difference in found)
    return {
        "engine": here.flavour,
        "engine_version": here.tensorrt,
        "device": f"cuda ({gpu.name})",
        "cuda": here.cuda,
        "compute_capability": here.compute_capability,
        **({"remarks": remarks} if remarks else {}),
    }


def _load() -> Library:
    open_cuda().require_gpu()  # TensorRT crashes where there is none
    return import_tensorrt()


def _probe() -> Installed:
    try:
        missing = "" if open_cuda().device_count() else "there is no NVIDIA GPU with its driver here"
    except BackendError as error:
        missing = str(error).partition(";")[0]
    if missing:  # TensorRT crashes where there is no GPU, so it is not even imported
        return Installed(_package_version(), (), missing)
    library = import_tensorrt()
    name = "" if library.flavour == "tensorrt" else "RTX "
    try:
        check_gpu(library, open_cuda().require_gpu())
    except BackendError as error:
        return Installed(f"{name}{library.version}", (), str(error))
    return Installed(f"{name}{library.version}", ("cuda",))


def _package_version() -> str | None:
    rtx = package_version("tensorrt-rtx-cu13-bindings") or package_version("tensorrt-rtx")
    return package_version("tensorrt") or (f"RTX {rtx}" if rtx else None)


BACKEND = Backend(
    name="tensorrt",
    module="tensorrt",
    oldest=OLDEST,
    extra="tensorrt",
    open_engine=open_engine,
    devices=("cuda",),
    not_on={"dla": "edgeclf runs TensorRT engines on the GPU, never on a Jetson's DLA; leave --device out"},
    count_weights=count_weights,
    load=_load,
    probe=_probe,
    stand_ins=RTX_MODULES,
    on_jetson="sudo apt install python3-libnvinfer (JetPack's own; never from pip)",
    tf32=True,
)
