"""A stand-in for CUDA with one GPU: it checks how it is used.

What a stream is given is done when the stream is waited for, not before: whoever reads or reuses a buffer too early
gets wrong outputs. Memory of the "GPU" is kept apart from the host's, and what was not freed is left in `live`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

H2D, D2H = 1, 2


class _Function:
    """A callable that ctypes' `argtypes` and `restype` can be set on."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class FakeCudart:
    """libcudart with one GPU in it. `fail[NAME] = [code, …]` lets the next calls of a function fail, 0: not that one.

    Attributes
    ----------
    calls
        Names of the functions in the order of their calls.
    live
        What was allocated and not freed: address or handle -> kind.
    """

    def __init__(self, gpus: int = 1, name: str = "Orin", capability: tuple[int, int] = (8, 7)) -> None:
        self.gpus, self.name, self.capability = gpus, name, capability
        self.runtime, self.driver, self.free_mib, self.total_mib = 12060, 12060, 4000, 7600
        self.integrated, self.no_device_code = 1, 0
        self.calls: list[str] = []
        self.fail: dict[str, list[int]] = {}
        self.live: dict[int, str] = {}
        self.faults: list[str] = []
        self._memory: dict[int, Any] = {}
        self._queues: dict[int, list[Callable[[], None]]] = {}
        self._captures: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._handle = 1000
        for function in dir(type(self)):
            if function.startswith("cuda"):
                setattr(self, function, _Function(self._counted(function, getattr(self, function))))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.calls.append(name)
            codes = self.fail.get(name, [])
            code = codes.pop(0) if codes else 0
            return code or call(*arguments) or 0

        return counted

    def _new(self, kind: str) -> int:
        self._handle += 1
        self.live[self._handle] = kind
        return self._handle

    def _end(self, handle: Any, kind: str) -> None:
        handle = getattr(handle, "value", handle)
        if self.live.get(handle) != kind:
            self.faults.append(f"{handle} freed as {kind}, it is {self.live.get(handle)}")
        self.live.pop(handle, None)

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """For the fake engine: work in the order of the stream."""
        assert self.live.get(stream) == "stream"
        (self._captures if stream in self._captures else self._queues)[stream].append(work)

    def view(self, address: int, size: int, kind: str) -> Any:
        """Bytes at an address; a fault where they are not of that kind or run over its end."""
        if self.live.get(address) != kind or len(self._memory[address]) < size:
            raise AssertionError(f"{size} bytes at {address} as {kind}: {self.live.get(address)}")
        return np.ctypeslib.as_array(self._memory[address])[:size]

    def cudaGetErrorString(self, code: int) -> bytes:
        return {2: b"out of memory", 719: b"unspecified launch failure"}.get(code, b"fake error")

    def cudaGetLastError(self) -> None:
        pass

    def cudaGetDeviceCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return self.no_device_code

    def cudaSetDevice(self, index: int) -> None:
        assert index == 0

    def cudaGetDeviceProperties(self, properties: Any, index: int) -> None:
        ctypes.memmove(properties.value, self.name.encode() + b"\0", len(self.name) + 1)

    def cudaDeviceGetAttribute(self, value: Any, attribute: int, index: int) -> None:
        value._obj.value = {16: 8, 18: self.integrated, 75: self.capability[0], 76: self.capability[1]}[attribute]

    def cudaRuntimeGetVersion(self, value: Any) -> None:
        value._obj.value = self.runtime

    def cudaDriverGetVersion(self, value: Any) -> None:
        value._obj.value = self.driver

    def cudaMemGetInfo(self, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = self.free_mib << 20, self.total_mib << 20

    def _allocate(self, pointer: Any, size: int, kind: str) -> None:
        memory = (ctypes.c_uint8 * size)(*([0xAB] * min(size, 16)))
        address = ctypes.addressof(memory)
        self._memory[address], self.live[address] = memory, kind
        pointer._obj.value = address

    def cudaMalloc(self, pointer: Any, size: int) -> None:
        self._allocate(pointer, size, "device")

    def cudaMallocHost(self, pointer: Any, size: int) -> None:
        self._allocate(pointer, size, "pinned")

    def cudaFree(self, address: int) -> None:
        self._end(address, "device")

    def cudaFreeHost(self, address: int) -> None:
        self._end(address, "pinned")

    def cudaMemcpyAsync(self, destination: int, source: int, size: int, kind: int, stream: int) -> None:
        kinds = {H2D: ("device", "pinned"), D2H: ("pinned", "device")}[kind]
        into, out_of = self.view(destination, size, kinds[0]), self.view(source, size, kinds[1])
        self.enqueue(stream, lambda: np.copyto(into, out_of))

    def cudaStreamCreateWithFlags(self, stream: Any, flags: int) -> None:
        stream._obj.value = self._new("stream")
        self._queues[stream._obj.value] = []

    def cudaStreamDestroy(self, stream: int) -> None:
        if self._queues.get(stream):
            self.faults.append("a stream was destroyed with work in it")
        self._end(stream, "stream")

    def cudaStreamSynchronize(self, stream: int) -> None:
        queue = self._queues[stream]
        while queue:
            queue.pop(0)()

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> None:
        self._captures[stream] = []

    def cudaStreamEndCapture(self, stream: int, graph: Any) -> None:
        graph._obj.value = self._new("graph")
        self._graphs[graph._obj.value] = self._captures.pop(stream)

    def cudaGraphInstantiate(self, executable: Any, graph: Any, flags: int) -> None:
        executable._obj.value = self._new("executable")
        self._graphs[executable._obj.value] = self._graphs[graph.value]

    def cudaGraphLaunch(self, executable: int, stream: int) -> None:
        assert self.live.get(executable) == "executable"
        for work in self._graphs[executable]:
            self.enqueue(stream, work)

    def cudaGraphDestroy(self, graph: Any) -> None:
        self._end(graph, "graph")

    def cudaGraphExecDestroy(self, executable: int) -> None:
        self._end(executable, "executable")
