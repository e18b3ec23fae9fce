"""A torch module as a .tflite in fp32, by litert-torch, whose remarks go to a log and whose refusals are named."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf_export.targets.log_warnings import without_log_warnings
from edgeclf_export.targets.target import ExportGraph
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.litert import MODEL, open_interpreter
from edgeclf_runtime.backends.native_output import STDERR, STDOUT, printed_aside
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import BackendError, BundleError, DataError, one_line
from edgeclf_runtime.machine.state_folder import state_folder

if TYPE_CHECKING:
    import torch

    from edgeclf_runtime.bundle.manifest import TensorSpec

LOG = "litert-converter.log"
_ADVICE = "replace the operator in the network, or export to onnx instead"
_OPERATOR = re.compile(r"(?:torch\.ops\.)?((?:aten|prims|stablehlo|tfl)\.\w+)")


def float_model(export_graph: ExportGraph) -> bytes:
    """The classifier or encoder in fp32, for one item at a time; converted once for all precisions of an export.

    Raises BackendError where the converter is missing, or refuses the module; ValueError without a module, which the
    exporter has refused before.
    """
    return export_graph.once("litert fp32", lambda: _convert(export_graph))


def _convert(export_graph: ExportGraph) -> bytes:
    exportable = export_graph.exportable
    if exportable.make_module is None:
        raise ValueError(f"{exportable.backbone} has no torch module")
    module = exportable.make_module(export_graph.form).eval()
    sample = _sample(exportable.contract(export_graph.form, 1).inputs[0])
    failure = None
    with _quiet() as printed:
        converter = _import_converter()
        try:
            converted = bytes(converter.convert(module, (sample,)).model_content())
        except Exception as error:  # torch's, MLIR's and its own errors share no narrower base
            failure = error
    log = _write_log(printed if failure is None else [*printed, str(failure)])
    if failure is not None:
        raise BackendError(_refusal(failure, printed) + ("" if log is None else f"; its log: {log}")) from failure
    return _loadable(converted)


def _loadable(model: bytes) -> bytes:
    """The model, which LiteRT loads: it refuses shapes that the converter lets pass. Raises BackendError."""
    try:
        open_interpreter(model, MODEL)
    except BundleError as error:
        found = one_line(error.__cause__ or error)
        raise BackendError(f"LiteRT can't run what litert-torch made of this model ({found}); {_ADVICE}") from error
    return model


def _write_log(printed: list[str]) -> Path | None:
    """What the converter printed last, in this machine's state folder; None where that can't be written."""
    try:
        with writing(state_folder() / LOG, force=True) as draft:
            draft.write_text("".join(f"{line.rstrip()}\n" for line in printed), encoding="utf-8")
    except (DataError, OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return state_folder() / LOG


def _sample(spec: TensorSpec) -> torch.Tensor:
    import torch

    return torch.zeros([int(size) for size in spec.shape], dtype=getattr(torch, spec.dtype))


def _import_converter() -> Any:
    """litert_torch, without its progress. Raises BackendError."""
    os.environ["LITERT_TORCH_SHOW_PROGRESS"] = "n"
    from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

    guard_torchvision()  # what it imports imports torchvision
    try:
        import litert_torch
    except ImportError as error:
        raise missing_engine("litert_torch", "litert-export", error) from error
    return litert_torch


def _refusal(error: Exception, printed: list[str]) -> str:
    """What the converter has no way to express, and where in the network it stands."""
    text = f"{error}\n" + "\n".join(line for line in printed if "error" in line.lower())
    named = _OPERATOR.search(text)
    operator = f"the operator {named[1]}" if named else one_line(error, 200)
    lines = re.findall(r"in forward\n\s*(.+)", text)  # from the outermost module to the one that has the operator
    where = f", in `{lines[-1].strip()}`" if lines and named else ""
    return f"litert-torch can't convert this model: {operator}{where}; {_ADVICE}"


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """A list of the lines that Python and native code print in the block; edgeclf's own progress still moves."""
    kept = sys.stderr
    terminal = os.fdopen(os.dup(STDERR), "w", encoding="utf-8", errors="replace", buffering=1)
    with terminal, printed_aside(STDOUT, STDERR) as printed, warnings.catch_warnings(), without_log_warnings():
        warnings.simplefilter("ignore")
        sys.stderr = _Aside(terminal)
        try:
            yield printed
        finally:
            sys.stderr = kept


class _Aside(io.TextIOWrapper):
    """The log in place of stderr. rich draws on `rich_proxied_file`, as it does on a stderr that it replaced itself.

    It is never closed: handlers of logs that were made meanwhile keep it.
    """

    def __init__(self, terminal: io.TextIOWrapper) -> None:
        super().__init__(os.fdopen(os.dup(STDERR), "wb", 0), encoding="utf-8", errors="replace", write_through=True)
        self.rich_proxied_file = terminal
