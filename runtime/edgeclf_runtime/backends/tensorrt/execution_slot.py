"""An execution slot of an engine: a stream, buffers for the largest batch, a CUDA graph for each batch size."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.tensorrt.cuda import Cuda
from edgeclf_runtime.backends.tensorrt.library import Library
from edgeclf_runtime.errors import BackendError

MOST_SHAPES = 4  # batch sizes that keep a context and a graph at a time; each holds memory of the GPU


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the engine: its name, type, and the shape of one item of the batch."""

    name: str
    dtype: np.dtype[Any]
    item: tuple[int, ...]

    def bytes_of(self, batch: int) -> int:
        return batch * int(np.prod(self.item)) * self.dtype.itemsize


@dataclass(slots=True)
class _Shape:
    """What serves one batch size. A captured graph binds its context, so no two sizes share one."""

    context: Any
    runs: int = 0
    graph: int | None = None


class ExecutionSlot:
    """Carries one batch at a time: `submit`, then `collect`. Not for several threads at once."""

    def __init__(
        self, cuda: Cuda, library: Library, engine: Any, entry: Tensor, outputs: Sequence[Tensor], largest: int
    ) -> None:
        self._cuda, self._library, self._engine = cuda, library, engine
        self._entry, self._outputs, self._largest = entry, tuple(outputs), largest
        self._shapes: OrderedDict[int, _Shape] = OrderedDict()
        self._pending: int | None = None
        with ExitStack() as undo:  # what was allocated before an allocation that fails
            self._stream = cuda.create_stream()
            undo.callback(cuda.destroy_stream, self._stream)
            self._device, self._host = {}, {}
            for tensor in (entry, *outputs):
                size = tensor.bytes_of(largest)
                self._device[tensor.name] = cuda.allocate(size)
                undo.callback(cuda.free, self._device[tensor.name])
                self._host[tensor.name] = cuda.allocate_pinned(size)
                undo.callback(cuda.free_pinned, self._host[tensor.name])
            self._undo = undo.pop_all()

    def submit(self, batch: NDArray[np.generic]) -> None:
        """Starts the work on `batch`, at most the largest one, and returns while the GPU computes."""
        size = len(batch)
        shape = self._shape(size)
        entry, stream = self._entry, self._stream
        _pinned(self._host[entry.name], entry, size)[...] = batch
        self._pending = size
        self._cuda.copy_to_device(self._device[entry.name], self._host[entry.name], entry.bytes_of(size), stream)
        self._run(shape)
        for output in self._outputs:
            self._cuda.copy_to_host(self._host[output.name], self._device[output.name], output.bytes_of(size), stream)

    def collect(self) -> tuple[NDArray[Any], ...]:
        """Waits for what was submitted; a new array an output, which the caller owns."""
        if self._pending is None:
            raise BackendError("nothing was submitted to this execution slot")
        size, self._pending = self._pending, None
        self._cuda.synchronize(self._stream)
        return tuple(_pinned(self._host[output.name], output, size).copy() for output in self._outputs)

    def drain(self) -> None:
        """Forgets what was submitted, once the GPU is done with it: after an error the slot can be used again."""
        if self._pending is not None:
            self._pending = None
            self._cuda.synchronize(self._stream)

    def close(self) -> None:
        """Frees graphs, contexts, buffers and the stream, in this order."""
        for size in list(self._shapes):
            self._drop(size)
        self._undo.close()

    def _run(self, shape: _Shape) -> None:
        """The first run of a size sets up what TensorRT puts off, the second is recorded, the others replay it."""
        if shape.runs == 1:
            shape.graph = self._capture(shape.context)
        shape.runs += 1
        if shape.graph is not None:
            self._cuda.launch(shape.graph, self._stream)
        else:
            self._execute(shape.context)

    def _capture(self, context: Any) -> int | None:
        """None where the engine can't be recorded: it then runs as it is, on the same GPU."""
        self._cuda.begin_capture(self._stream)
        recorded = False
        try:
            recorded = bool(context.execute_async_v3(self._stream))
        finally:
            graph = self._cuda.end_capture(self._stream)
        if graph is not None and not recorded:
            self._cuda.destroy_executable(graph)
            return None
        return graph

    def _execute(self, context: Any) -> None:
        with self._library.listening() as messages:
            if not context.execute_async_v3(self._stream):
                text = "; ".join(" ".join(line.split())[:300] for line in messages.errors) or "no reason given"
                raise BackendError(f"TensorRT can't run the engine: {text}")

    def _shape(self, size: int) -> _Shape:
        if size in self._shapes:
            self._shapes.move_to_end(size)
            return self._shapes[size]
        while len(self._shapes) >= MOST_SHAPES:
            self._drop(next(iter(self._shapes)))
        shape = self._shapes[size] = _Shape(self._context(size))
        return shape

    def _context(self, size: int) -> Any:
        engine, entry = self._engine, self._entry
        with self._library.listening() as messages:
            context = engine.create_execution_context()
            if context is None:
                text = "; ".join(" ".join(line.split())[:300] for line in messages.errors) or "no reason given"
                raise BackendError(f"TensorRT can't prepare the engine, most often for want of GPU memory: {text}")
        if not context.set_input_shape(entry.name, (size, *entry.item)):
            raise BackendError(f"the engine takes no batch of {size} for {entry.name}")
        for name, address in self._device.items():
            if not context.set_tensor_address(name, address):
                raise BackendError(f"the engine takes no buffer for {name}")
        return context

    def _drop(self, size: int) -> None:
        shape = self._shapes.pop(size)
        if shape.graph is not None:
            self._cuda.destroy_executable(shape.graph)
        shape.context = None


def _pinned(address: int, tensor: Tensor, size: int) -> NDArray[Any]:
    """(size, …) the host's side of a buffer, seen as an array without a copy."""
    memory = (ctypes.c_uint8 * tensor.bytes_of(size)).from_address(address)
    return np.ctypeslib.as_array(memory).view(tensor.dtype).reshape(size, *tensor.item)
