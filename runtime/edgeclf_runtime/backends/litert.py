"""LiteRT backend (TensorFlow Lite's successor): a .tflite from memory, run by XNNPACK, one interpreter a call.

An interpreter that two threads share raises (seen in 2.3), so each call takes an idle one, or opens another. What the
delegate does not take runs in LiteRT's own kernels, on the same CPU; how much that is stands in the engine's facts.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend, Installed
from edgeclf_runtime.backends.engine import SessionOptions, check_shape
from edgeclf_runtime.backends.forked import left_to_parent
from edgeclf_runtime.backends.litert_graph import computed_precision, count_stored, pieces
from edgeclf_runtime.backends.native_output import STDERR, printed_aside
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, BundleError, one_line

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MODEL = "model.tflite"
_REMARK = "INFO: "  # what LiteRT prints to stderr where it creates its delegate


class LitertEngine:
    """Interpreters of one model, as many as there are calls at the same time."""

    def __init__(self, first: Interpreter, open_another: Callable[[], Interpreter], facts: dict[str, str]) -> None:
        self._idle = deque([first])
        self._open_another = open_another
        self._input = int(first.get_input_details()[0]["index"])
        self._output = int(first.get_output_details()[0]["index"])
        self.compute_precision = computed_precision(first)
        self.facts = facts

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._open_another()
        try:
            interpreter.set_tensor(self._input, batch)
            interpreter.invoke()
            output: NDArray[np.float32] = interpreter.get_tensor(self._output)  # a copy
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"LiteRT can't run the model ({one_line(error)})") from error
        finally:
            self._idle.append(interpreter)
        return output

    def close(self) -> None:
        self._idle.clear()


def open_engine(bundle: Bundle, options: SessionOptions) -> LitertEngine:
    library = import_litert()
    model, where = bundle.read(MODEL), f"{bundle.path}/{MODEL}"
    first = open_interpreter(model, where, threads=options.threads_per_stream)
    manifest = bundle.manifest
    check_shape(where, "input", _shape(first.get_input_details()), manifest.inputs[0].shape)
    check_shape(where, "output", _shape(first.get_output_details()), manifest.outputs[0].shape)
    facts = {
        "engine": "litert",
        "engine_version": _version(),
        "device": "cpu",
        "threads": str(options.thread_count),
        "delegate": str(pieces(first)),
    }
    return LitertEngine(first, lambda: _ready(library, model, options.threads_per_stream), facts)


def open_interpreter(model: bytes, where: str, *, threads: int = 1, keep_tensors: bool = False) -> Interpreter:
    """An interpreter that is ready to run. Raises BundleError where LiteRT refuses the model.

    `keep_tensors`: every tensor can be read after a call, which costs memory and speed, as LiteRT warns.
    """
    library = import_litert()
    if not keep_tensors:
        return _or_bundle_error(lambda: _ready(library, model, threads), where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _or_bundle_error(lambda: _ready(library, model, threads, keep_tensors=True), where)


def _ready(library: Any, model: bytes, threads: int, *, keep_tensors: bool = False) -> Interpreter:
    interpreter: Interpreter = library.Interpreter(
        model_content=model, num_threads=threads, experimental_preserve_all_tensors=keep_tensors
    )
    interpreter.allocate_tensors()
    return left_to_parent(interpreter)


def open_file(model: bytes, where: str) -> Interpreter:
    """An interpreter that runs nothing: its operators and constants are the file's. Raises BundleError."""
    library = import_litert()
    resolver = library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return _or_bundle_error(
        lambda: library.Interpreter(model_content=model, experimental_op_resolver_type=resolver), where
    )


def count_weights(bundle: Bundle) -> dict[str, int]:
    """How many weights the .tflite stores in each precision. Raises BundleError where it is none."""
    return count_stored(open_file(bundle.read(MODEL), f"{bundle.path}/{MODEL}"))


def _or_bundle_error(make: Callable[[], Interpreter], where: str) -> Interpreter:
    """What is made, without LiteRT's remark on its delegate; whatever else it prints passes."""
    try:
        with printed_aside(STDERR) as printed:
            made = make()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{where}: LiteRT can't load it ({one_line(error)})") from error
    for line in printed:
        if not line.startswith(_REMARK):
            print(line, file=sys.stderr)
    return made


def _shape(details: list[dict[str, Any]]) -> list[int]:
    return [int(size) for size in details[0]["shape"]]


def import_litert() -> Any:
    """The module with the interpreter. Raises BackendError."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise BACKEND.missing(error) from error
    return interpreter


def _version() -> str:
    import ai_edge_litert

    return str(ai_edge_litert.__version__)


def _probe() -> Installed:
    import_litert()
    return Installed(_version(), ("cpu",))


BACKEND = Backend(
    name="litert",
    module="ai_edge_litert",
    oldest="2.3",
    extra="litert",
    open_engine=open_engine,
    count_weights=count_weights,
    load=import_litert,
    probe=_probe,
    distributions=("ai-edge-litert", "ai-edge-litert-nightly"),
    computes_as_stored=True,
)
