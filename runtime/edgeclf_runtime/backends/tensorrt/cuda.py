"""The CUDA runtime through ctypes, 12 and 13: as much of it as an engine needs, and no package to install.

Signatures: https://docs.nvidia.com/cuda/cuda-runtime-api/. `Cuda` takes any object that has these functions, so that
tests can count what is allocated and freed without a GPU.
"""

from __future__ import annotations

import ctypes
import glob
import os
import sys
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass
from typing import Any

from edgeclf_runtime.errors import BackendError

_MAJORS = (13, 12)
_NO_DEVICE = (35, 100)  # cudaErrorInsufficientDriver, also where there is no driver, and cudaErrorNoDevice
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_NON_BLOCKING = 1  # cudaStreamNonBlocking: waits for no work of the default stream
_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: other threads may allocate meanwhile
_MULTIPROCESSORS, _INTEGRATED, _MAJOR, _MINOR = 16, 18, 75, 76  # cudaDeviceAttr
_PROPERTIES_BYTES = 8192  # cudaDeviceProp has about 1 kB; its first field is char name[256] in 12 and in 13

_POINTER_TO_POINTER = POINTER(c_void_p)
_FUNCTIONS: dict[str, list[Any]] = {
    "cudaGetLastError": [],
    "cudaGetDeviceCount": [POINTER(c_int)],
    "cudaSetDevice": [c_int],
    "cudaGetDeviceProperties": [c_void_p, c_int],
    "cudaDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cudaRuntimeGetVersion": [POINTER(c_int)],
    "cudaDriverGetVersion": [POINTER(c_int)],
    "cudaMemGetInfo": [POINTER(c_size_t), POINTER(c_size_t)],
    "cudaMalloc": [_POINTER_TO_POINTER, c_size_t],
    "cudaFree": [c_void_p],
    "cudaMallocHost": [_POINTER_TO_POINTER, c_size_t],
    "cudaFreeHost": [c_void_p],
    "cudaMemcpyAsync": [c_void_p, c_void_p, c_size_t, c_int, c_void_p],
    "cudaStreamCreateWithFlags": [_POINTER_TO_POINTER, c_uint],
    "cudaStreamDestroy": [c_void_p],
    "cudaStreamSynchronize": [c_void_p],
    "cudaStreamBeginCapture": [c_void_p, c_int],
    "cudaStreamEndCapture": [c_void_p, _POINTER_TO_POINTER],
    "cudaGraphInstantiate": [_POINTER_TO_POINTER, c_void_p, c_ulonglong],
    "cudaGraphLaunch": [c_void_p, c_void_p],
    "cudaGraphDestroy": [c_void_p],
    "cudaGraphExecDestroy": [c_void_p],
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. `integrated`: it shares the machine's memory, as a Jetson's does. Versions as "12.6"."""

    name: str
    compute_capability: str
    multiprocessors: int
    integrated: bool
    runtime: str
    driver: str
    free_mib: int
    total_mib: int


class Cuda:
    """The CUDA runtime. A call that fails raises BackendError; frees alone stay silent, for they run while closing."""

    def __init__(self, library: Any) -> None:
        self._library = library
        for name, arguments in _FUNCTIONS.items():
            getattr(library, name).argtypes = arguments
            getattr(library, name).restype = c_int
        library.cudaGetErrorString.argtypes, library.cudaGetErrorString.restype = [c_int], c_char_p

    def device_count(self) -> int:
        """How many GPUs there are; 0 also where there is no driver."""
        count = c_int()
        code: int = self._library.cudaGetDeviceCount(byref(count))
        if code in _NO_DEVICE:
            return 0
        self._check(code, "cudaGetDeviceCount")
        return count.value

    def require_gpu(self) -> Gpu:
        """The first GPU, made this thread's. TensorRT crashes where there is none, so this comes before it."""
        if self.device_count() == 0:
            raise BackendError(
                "TensorRT needs an NVIDIA GPU with its driver, there is none here; run this on the device, or export "
                "for onnx or openvino"
            )
        self.use_gpu()
        free, total = self.memory_mib()
        return Gpu(
            name=self._name(),
            compute_capability=f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}",
            multiprocessors=self._attribute(_MULTIPROCESSORS),
            integrated=bool(self._attribute(_INTEGRATED)),
            runtime=_version(self._integer("cudaRuntimeGetVersion")),
            driver=_version(self._integer("cudaDriverGetVersion")),
            free_mib=free,
            total_mib=total,
        )

    def use_gpu(self) -> None:
        """Makes the first GPU this thread's own: the choice is per thread."""
        self._call("cudaSetDevice", 0)

    def memory_mib(self) -> tuple[int, int]:
        """(free, total) memory of the GPU, in MiB."""
        free, total = c_size_t(), c_size_t()
        self._call("cudaMemGetInfo", byref(free), byref(total))
        return free.value >> 20, total.value >> 20

    # -- memory

    def allocate(self, size_bytes: int) -> int:
        return self._new("cudaMalloc", size_bytes)

    def free(self, pointer: int) -> None:
        self._library.cudaFree(pointer)

    def allocate_pinned(self, size_bytes: int) -> int:
        """Memory of the host that the GPU copies from and to by itself, while the processor goes on."""
        return self._new("cudaMallocHost", size_bytes)

    def free_pinned(self, pointer: int) -> None:
        self._library.cudaFreeHost(pointer)

    def copy_to_device(self, device: int, host: int, size_bytes: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", device, host, size_bytes, _TO_DEVICE, stream)

    def copy_to_host(self, host: int, device: int, size_bytes: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", host, device, size_bytes, _TO_HOST, stream)

    # -- streams and graphs

    def create_stream(self) -> int:
        return self._new("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        self._library.cudaStreamDestroy(stream)

    def synchronize(self, stream: int) -> None:
        """Waits until all work given to the stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """From now on the stream records what it is given instead of doing it."""
        self._call("cudaStreamBeginCapture", stream, _THREAD_LOCAL)

    def end_capture(self, stream: int) -> int | None:
        """The recorded work, ready to launch; None where it could not be recorded."""
        graph, executable = c_void_p(), c_void_p()
        if not self._library.cudaStreamEndCapture(stream, byref(graph)) and graph.value:
            self._library.cudaGraphInstantiate(byref(executable), graph, 0)
            self._library.cudaGraphDestroy(graph)
        if executable.value is None:
            self._library.cudaGetLastError()  # clears the error, or the next call would report it as its own
        return executable.value

    def launch(self, executable: int, stream: int) -> None:
        self._call("cudaGraphLaunch", executable, stream)

    def destroy_executable(self, executable: int) -> None:
        self._library.cudaGraphExecDestroy(executable)

    # -- one call

    def _new(self, function: str, argument: int) -> int:
        pointer = c_void_p()
        self._call(function, byref(pointer), argument)
        if pointer.value is None:
            raise BackendError(f"{function} gave nothing")
        return pointer.value

    def _integer(self, function: str) -> int:
        value = c_int()
        self._call(function, byref(value))
        return value.value

    def _attribute(self, attribute: int) -> int:
        value = c_int()
        self._call("cudaDeviceGetAttribute", byref(value), attribute, 0)
        return value.value

    def _name(self) -> str:
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", ctypes.cast(properties, c_void_p), 0)
        return properties.raw[:256].partition(b"\0")[0].decode(errors="replace")

    def _call(self, function: str, *arguments: Any) -> None:
        self._check(getattr(self._library, function)(*arguments), function)

    def _check(self, code: int, function: str) -> None:
        if code == _OUT_OF_MEMORY:
            raise BackendError(
                f"the GPU is out of memory ({function}); end other programs, or use a smaller batch or model"
            )
        if code:
            text = self._library.cudaGetErrorString(code) or b""
            raise BackendError(f"{function} failed: CUDA error {code} ({text.decode(errors='replace')})")


def open_cuda() -> Cuda:
    """The CUDA runtime of this machine: the system's, or one that pip brought; the first that sees a GPU.

    A runtime newer than the driver sees none, where an older one beside it may. Raises BackendError without any.
    """
    blind = None
    for place in _places():
        try:
            found = Cuda(ctypes.CDLL(place))
        except OSError:
            continue
        if found.device_count():
            return found
        blind = blind or found
    if blind is not None:
        return blind
    raise BackendError(
        "the CUDA runtime (libcudart.so.12 or .13) is not found; on a Jetson it comes with JetPack "
        "(sudo apt install nvidia-jetpack), elsewhere with the CUDA toolkit or TensorRT's own packages"
    )


def _places() -> Iterator[str]:
    for major in _MAJORS:
        name = f"libcudart.so.{major}"
        yield name
        patterns = [f"/usr/local/cuda*/lib64/{name}", f"/usr/local/cuda*/targets/*/lib/{name}"]
        patterns += [os.path.join(folder, "nvidia", "cu*", "lib", name) for folder in sys.path]
        for pattern in patterns:
            yield from sorted(glob.glob(pattern))


def _version(number: int) -> str:
    """12060 -> "12.6"."""
    return f"{number // 1000}.{number % 1000 // 10}"
