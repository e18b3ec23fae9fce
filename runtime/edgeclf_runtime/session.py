"""An opened engine: a context manager, and a call from the batch that the manifest describes to its output.

`BACKENDS` is the whole list of engines. To add one: a file in `backends/` ending with its `Backend`, and a line
here: its name and that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backends
from edgeclf_runtime.backends.engine import (
    OWN_DEVICE,
    CompilingEngine,
    Engine,
    FeatureEngine,
    SessionOptions,
    StreamingEngine,
)
from edgeclf_runtime.backends.forked import left_to_parent
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, UsageError

BACKENDS = Backends(
    {
        "onnx": "ort",
        "openvino": "ov",
        "litert": "litert",
        "tensorrt": "tensorrt.backend",
        "pytorch": "torch_module",
        "hog-svm": "hog_svm",
        "reference": "reference",
    }
)


def is_reference(target: str) -> bool:
    """Whether bundles of this target are what others are measured against, where nobody names a reference."""
    backend = BACKENDS.get(target)
    return backend is not None and backend.is_reference


LEAST_STORED = 0.8  # of the weights; some small layers of a 16-bit model stay in fp32
LEAST_INT8 = 0.1  # layers that int8 makes inaccurate stay in float, and a large head may be one


class Session:
    """Checks, chunks and hands batches to one engine. Safe to call from several threads.

    Attributes
    ----------
    compute_precision
        What the engine computes in, read back from it.
    facts
        Engine, version, device and threads, for proofs and reports.
    compile_s
        About what a size of batches that it has not had costs in each stream, in seconds.
    streams
        How many calls at the same time the engine is tuned for.
    threads
        What the streams share; decoding takes no more.
    """

    def __init__(self, bundle: Bundle, engine: Engine, options: SessionOptions = SessionOptions()) -> None:
        self._engine: Engine | None = left_to_parent(engine)
        self._input, self._output = bundle.manifest.inputs[0], bundle.manifest.outputs[0]
        self._gives_features, self._name = len(bundle.manifest.outputs) > 1, bundle.name
        self._dtype = np.dtype(self._input.dtype)
        self._item = self._input.shape[1:]
        self._largest = self._input.fixed_batch
        self._process = os.getpid()
        self.compute_precision = engine.compute_precision
        self.streams, self.threads = options.stream_count, options.thread_count
        self.compile_s = engine.compile_s if isinstance(engine, CompilingEngine) else 0.0
        self.facts = engine.facts if self.streams == 1 else {**engine.facts, "streams": str(self.streams)}

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """(N, …) of the manifest's dtype and layout -> (N, …) float32; classifiers: (N, H, W, 3) uint8 -> logits."""
        engine, batch = self.check_usable(), self._checked(batch)
        if self._largest is None and len(batch):
            return _as_float32(engine.infer(batch))
        return self._in_chunks(engine.infer, batch)

    def with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As the call: the logits, and of the same run the (N, width) float32 features that the head took.

        Raises UsageError for a bundle without features.
        """
        engine, batch = self.check_usable(), self._checked(batch)
        if not self._gives_features or not isinstance(engine, FeatureEngine):
            raise UsageError(f"{self._name} gives no features; make one that does: edgeclf export RUN --features")
        classes = int(self._output.shape[-1])

        def infer(piece: NDArray[np.generic]) -> NDArray[np.float32]:
            return np.concatenate([_as_float32(each) for each in engine.infer_with_features(piece)], axis=1)

        rows = infer(batch) if self._largest is None and len(batch) else self._in_chunks(infer, batch)
        return rows[:, :classes], rows[:, classes:]

    def stream(self, batches: Iterable[NDArray[np.generic]]) -> Iterator[NDArray[np.float32]]:
        """The output of each batch, in order. An engine that can works on several at once and takes some ahead."""
        engine = self.check_usable()
        if isinstance(engine, StreamingEngine) and self._largest is None:
            yield from map(_as_float32, engine.infer_stream(map(self._checked, batches)))
        else:
            yield from map(self, batches)

    def _checked(self, batch: NDArray[np.generic]) -> NDArray[np.generic]:
        """`batch` in one piece of memory; raises UsageError where the graph takes another."""
        if not isinstance(batch, np.ndarray):
            raise UsageError(f"wanted a numpy array, found {type(batch).__name__}")
        if batch.dtype != self._dtype or not self._fits(batch.shape):
            raise UsageError(
                f"wanted a batch {self._input.shape} of {self._input.dtype} ({self._input.layout}), "
                f"found {batch.shape} of {batch.dtype}"
            )
        return np.ascontiguousarray(batch)

    def check_usable(self) -> Engine:
        """The engine; raises UsageError where the session is closed or was opened before a fork."""
        if self._engine is None:
            raise UsageError("the session is closed; open the bundle again")
        if os.getpid() != self._process:
            raise UsageError("the session was opened before a fork; open the bundle again in the child process")
        return self._engine

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return shape[1:] == self._item or (
            len(shape) == len(self._item) + 1
            and all(
                wanted == found or isinstance(wanted, str) for wanted, found in zip(self._item, shape[1:], strict=True)
            )
        )

    def _in_chunks(
        self, infer: Callable[[NDArray[np.generic]], NDArray[np.float32]], batch: NDArray[np.generic]
    ) -> NDArray[np.float32]:
        """Batches of the size that the graph was fixed to, the last one padded; no images give an empty result."""
        size = self._largest or 1
        outputs = []
        for start in range(0, len(batch), size):
            chunk = batch[start : start + size]
            padding = np.repeat(chunk[-1:], size - len(chunk), axis=0)
            outputs.append(_as_float32(infer(np.concatenate([chunk, padding])))[: len(chunk)])
        if not outputs:
            return np.empty((0, *(d for d in self._output.shape[1:] if isinstance(d, int))), dtype=np.float32)
        return np.concatenate(outputs)

    def close(self) -> None:
        """Frees the engine; a second call does nothing. In a forked child the engine is the parent's, and stays."""
        if self._engine is None:
            return
        if os.getpid() == self._process:
            self._engine.close()
        self._engine = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_float32(output: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(output, dtype=np.float32)  # a graph of stored fp16 may give fp16


def open_session(bundle: Bundle | str | os.PathLike[str], options: SessionOptions = SessionOptions()) -> Session:
    """A session on the bundle's own engine.

    Raises BackendError where the engine is missing, too old, or gives another device or precision than requested;
    BundleError where a file changed.
    """
    bundle = Bundle.open(bundle)
    backend = BACKENDS.get(bundle.manifest.target)
    if backend is None:
        raise BackendError(f"no backend {bundle.manifest.target!r}; this edgeclf has {', '.join(BACKENDS)}")
    if bundle.manifest.state == "portable":
        raise BackendError(
            f"{bundle.path} is portable, not yet built; build it on the machine it shall run on: "
            f"edgeclf build {bundle.path}"
        )
    if options.device == OWN_DEVICE:
        options = replace(options, device=backend.devices[0])
    backend.check_device(options.device)
    engine = backend.open_engine(bundle, options)
    wanted = options.compute_precision or bundle.manifest.compute_precision
    if engine.compute_precision != wanted:
        engine.close()
        if backend.computes_as_stored and not options.compute_precision:
            raise BackendError(
                f"{bundle.path}: its manifest says {wanted}, its model computes in {engine.compute_precision}; it is "
                "not the model that was proven: export it again"
            )
        raise BackendError(
            f"requested {wanted} of {bundle.manifest.target}, it computes in {engine.compute_precision} on this "
            f"machine; give --compute-precision {engine.compute_precision} to accept that, and run `edgeclf verify`"
        )
    return Session(bundle, engine, options)


def stored_shares(bundle: Bundle) -> dict[str, float]:
    """Share (0..1) of the weights that the files store in each precision, the largest first; empty: not readable."""
    backend = BACKENDS.get(bundle.manifest.target)
    if backend is None or backend.count_weights is None:
        return {}
    counts = backend.count_weights(bundle)
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return {precision: count / total for precision, count in ranked if count}


def stored_faults(bundle: Bundle) -> tuple[str, ...]:
    """Where the weights are stored otherwise than the manifest says, read back from the files themselves."""
    shares, claimed = stored_shares(bundle), bundle.manifest.weights_precision
    computed, backend = bundle.manifest.compute_precision, BACKENDS.get(bundle.manifest.target)
    if backend is not None and backend.computes_as_stored and computed not in (claimed, "fp32"):
        return (f"the manifest says {claimed} weights computed in {computed}, which {backend.module} does not do",)
    least = LEAST_INT8 if claimed in ("int8", "mixed") else LEAST_STORED
    if not shares or shares.get("int8" if claimed == "mixed" else claimed, 0.0) >= least:
        return ()
    found = ", ".join(f"{share:.0%} {precision}" for precision, share in shares.items())
    return (f"the manifest says {claimed} weights, the files hold {found}",)
