"""The TensorRT that is installed here: TensorRT itself, or TensorRT-RTX, which builds engines without a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from edgeclf_runtime.backends.tensorrt.cuda import Gpu
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.installing import pip_install

OLDEST = "10.3"  # JetPack 6
Flavour = Literal["tensorrt", "tensorrt-rtx"]
_NOT_FOR_RTX = ("8.7", "9.0", "10.0", "10.3", "11.0")  # compute capabilities: Orin, Hopper, data-centre Blackwell, Thor
_RTX_THAT_WAS_SEEN = (1, 7)  # what a later one takes is left to itself
RTX_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")  # the second is all that the package registry itself has


@dataclass(frozen=True, slots=True)
class Messages:
    """What TensorRT logged meanwhile, in its own words."""

    errors: list[str]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT.

    Attributes
    ----------
    module
        The Python module. Enum members are taken by name: their numbers moved between 10 and 11.
    flavour
        TensorRT, or TensorRT-RTX: plans of the one are strange to the other.
    version
        As "10.3.0" or "1.7.1.116".
    log
        The one logger of this process: TensorRT keeps the first that it is given, whatever comes later.
    """

    module: Any
    flavour: Flavour
    version: str
    log: Any

    @contextmanager
    def listening(self) -> Iterator[Messages]:
        """Errors and warnings that TensorRT logs while the block runs; other threads' may be among them."""
        messages = Messages([], [])
        self.log.listeners.append(messages)
        try:
            yield messages
        finally:
            self.log.listeners.remove(messages)


def import_tensorrt() -> Library:
    """TensorRT, or TensorRT-RTX where that alone is installed. Nothing is started yet: look for a GPU by CUDA first.

    Raises BackendError, with the lines that install it, where both are missing, or TensorRT is broken or too old.
    """
    if find_spec("tensorrt") is None:
        rtx = import_rtx()
        if rtx is None:
            raise BackendError(
                "TensorRT is not installed; on a Jetson it comes with JetPack (sudo apt install python3-libnvinfer, in "
                f"an environment made with --system-site-packages), on a desktop GPU: {pip_install('tensorrt')}"
            )
        return rtx
    try:
        module = import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise BackendError(f"tensorrt can't be imported ({error}); install TensorRT again") from error
    version = str(getattr(module, "__version__", "0"))
    if version_numbers(version) < version_numbers(OLDEST):
        raise BackendError(f"TensorRT {version} is too old, edgeclf needs {OLDEST} (JetPack 6) or newer")
    return library_of(module, "tensorrt")


def import_rtx() -> Library | None:
    """TensorRT-RTX, which parses and builds where there is no GPU; None: it is not installed."""
    for name in RTX_MODULES:
        if find_spec(name) is not None:
            try:
                return library_of(import_module(name), "tensorrt-rtx")
            except (ImportError, OSError) as error:
                again = f"{pip_install('tensorrt-rtx')} --force-reinstall"
                raise BackendError(f"{name} can't be imported ({error}); {again}") from error
    return None


def check_gpu(library: Library, gpu: Gpu) -> None:
    """Raises BackendError for a GPU that TensorRT-RTX does not run on.

    TensorRT-RTX 1.7.1 builds on an H200 without a word and refuses to load what it built: "Supported compute
    capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0".
    """
    if library.flavour != "tensorrt-rtx" or version_numbers(library.version)[:2] > _RTX_THAT_WAS_SEEN:
        return
    if gpu.compute_capability in _NOT_FOR_RTX:
        raise BackendError(
            f"TensorRT-RTX {library.version} runs on GeForce and RTX cards alone, not on {gpu.name} (compute "
            f"capability {gpu.compute_capability}); install TensorRT itself in its place: {pip_install('tensorrt')}"
        )


def library_of(module: Any, flavour: Flavour) -> Library:
    """An imported module with its logger."""
    return Library(module, flavour, str(module.__version__), _log_of(module))


def version_numbers(version: str) -> tuple[int, ...]:
    """ "10.3.0.post1" -> (10, 3, 0)."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


@lru_cache
def _log_of(trt: ModuleType) -> Any:
    """A logger that hands errors and warnings to whoever listens; what nobody waits for is dropped."""
    severity = trt.ILogger.Severity
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # `super().__init__` does not reach pybind11's constructor
            self.listeners: list[Messages] = []

        def log(self, level: Any, text: str) -> None:
            for messages in list(self.listeners):
                if level in errors:
                    messages.errors.append(text)
                elif level == severity.WARNING:
                    messages.warnings.append(text)

    return Log()
