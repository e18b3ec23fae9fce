"""What a backend keeps (`Engine`) and how a caller may run it (`SessionOptions`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import TensorSpec
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import BackendError, BundleError, UsageError
from edgeclf_runtime.installing import no_wheel, pip_install

OWN_DEVICE = "own"
MOST_THREADS = 512  # an engine given 100,000 takes all memory before it refuses


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to run a bundle here.

    Attributes
    ----------
    device
        "own": what the bundle is made for, "cuda" for tensorrt and "cpu" for the others. Or "cpu", or what the engine
        calls it: "cuda", "tensorrt" (onnx), "gpu", "npu" (openvino), "cuda" (pytorch). There is no fallback: a device
        that is not available is an error.
    threads
        Threads of the engine; None: the cores that this process may use.
    compute_precision
        What to compute in; None: what the manifest states.
    hint
        "latency": the shortest time for one image; "throughput": the most images a second.
    streams
        Inferences at the same time, which share the threads. None: one for latency; for throughput one a thread, since
        two cores do more on two images than together on one.
    cache
        Folder where OpenVINO keeps what it compiled, for a quicker start. What lies there is run unchecked.

    Raises
    ------
    UsageError
        A number of threads or streams that is not valid.

    Examples
    --------
    >>> from edgeclf_runtime import SessionOptions
    >>> SessionOptions(threads=4, streams=2).threads_per_stream
    2
    """

    device: str = OWN_DEVICE
    threads: int | None = None
    compute_precision: str | None = None
    hint: Literal["latency", "throughput"] = "latency"
    streams: int | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(
                f"threads must be 1 to {MOST_THREADS}, found {self.threads}; the machine has {usable_cores()} cores"
            )
        if self.streams is not None and not 1 <= self.streams <= self.thread_count:
            raise UsageError(
                f"streams must be 1 to {self.thread_count}, the threads that they share, found {self.streams}"
            )

    @property
    def thread_count(self) -> int:
        """Threads in all."""
        return self.threads or usable_cores()

    @property
    def stream_count(self) -> int:
        """Inferences at the same time."""
        return self.streams or (1 if self.hint == "latency" else self.thread_count)

    @property
    def threads_per_stream(self) -> int:
        """Threads of one inference."""
        return self.thread_count // self.stream_count


def is_of_nvidia(device: str) -> bool:
    """Whether a device, as a session names it or an engine reports it, is an NVIDIA GPU."""
    return any(word in device.lower() for word in ("cuda", "tensorrt"))


def is_cpu(device: str) -> bool:
    """Whether a device, as a session names it or an engine reports it, is the processor."""
    return "cpu" in device.lower()


class Engine(Protocol):
    """A loaded model. `infer` may be called from several threads at once."""

    @property
    def compute_precision(self) -> str: ...
    @property
    def facts(self) -> dict[str, str]: ...
    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """A batch that fits the manifest -> a new float32 array that the caller owns."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that overlaps the work on several batches."""

    def infer_stream(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """The output of each batch, in order; a few batches may be taken ahead of the outputs."""
        ...


@runtime_checkable
class CompilingEngine(Engine, Protocol):
    """An engine that compiles the model again for a size of batches that it has not had, in each of its streams."""

    @property
    def compile_s(self) -> float:
        """Seconds that compiling for one image took."""
        ...


@runtime_checkable
class FeatureEngine(Engine, Protocol):
    """An engine that also gives the features, of bundles whose graph has them as its second output."""

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `infer`: the outputs, and the (N, width) features of the same run."""
        ...


def check_shape(where: str, what: str, found: Sequence[object], wanted: Sequence[str | int]) -> None:
    """Raises BundleError where the graph has another input or output than the manifest states. Names fit any number."""
    fits = len(found) == len(wanted) and all(
        not isinstance(is_now, int) or not isinstance(stated, int) or is_now == stated
        for is_now, stated in zip(found, wanted, strict=False)
    )
    if not fits:
        shapes = " and ".join("(" + ", ".join(map(str, shape)) + ")" for shape in (wanted, found))
        raise BundleError(f"{where}: the manifest and the graph have another {what}, {shapes}; export the bundle again")


def check_outputs(where: str, found: Sequence[Sequence[object]], wanted: Sequence[TensorSpec]) -> None:
    """As `check_shape`, for all outputs that the manifest states; the graph may have more."""
    if len(found) < len(wanted):
        raise BundleError(
            f"{where}: the manifest states {len(wanted)} outputs, the graph has {len(found)}; export the bundle again"
        )
    for shape, spec in zip(found, wanted, strict=False):
        check_shape(where, "output", shape, spec.shape)


def missing_engine(package: str, extra: str, error: ImportError) -> BackendError:
    """The error for an engine that can't be imported, with the line that installs it."""
    why = " ".join(str(error).split())  # a loader's message may be of several lines, all of them the cause
    without = no_wheel(extra)
    but = f"; but {without}" if without else ""
    return BackendError(f"{package} can't be imported ({why}); install it with: {pip_install(extra)}{but}")
