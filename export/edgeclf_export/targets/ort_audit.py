"""The precision of ONNX Runtime's CPU products: from the profile of one inference and the graph that it optimised."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_runtime.backends.audit import Work, multiply_accumulates
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.errors import BackendError, one_line

_TYPES = {"uint8": "int8", "int8": "int8", "float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_ROOM = 2**20  # bytes, more than a profile takes
_PRODUCTS = ("Gemm", "MatMul")
_INPUTS = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int32)": "int32", "tensor(int64)": "int64"}


def audited_work(model: bytes) -> Iterator[Work]:
    """The convolutions and products as they were run, with shapes and types.

    Weights' shapes are from the optimised graph, since the profile leaves out prepacked ones.
    """
    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            events, graph = _profiled(onnxruntime, model, Path(scratch))
        except Exception as error:  # onnxruntime's own exceptions share no narrower base
            # a full disk is worded ill by the engine, or leaves half a profile; this raises OSError of it
            Path(scratch, "room").write_bytes(model + bytes(_ROOM))
            raise BackendError(f"onnxruntime can't take this model ({one_line(error)}); export fp32") from error
    constants = {item.name: list(item.dims) for item in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    for event in events:
        details, name = event.get("args", {}), event.get("name", "").removesuffix("_kernel_time")
        if event.get("cat") == "Node" and name != event["name"] and "output_type_shape" in details:
            yield from _work(name, details, nodes.get(name), constants)


def _profiled(onnxruntime: Any, model: bytes, scratch: Path) -> tuple[list[dict[str, Any]], Any]:
    """The events of one inference, and the optimised graph; both pass through files in `scratch`."""
    import onnx

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised; it would warn that the saved graph is for this machine
    settings.optimized_model_filepath = str(scratch / "optimized.onnx")
    settings.enable_profiling = True
    settings.profile_file_prefix = str(scratch / "profile")
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    session.run(None, {entry.name: _blank(entry)})
    events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events, onnx.load(settings.optimized_model_filepath).graph


def _work(name: str, details: dict[str, Any], node: Any, constants: dict[str, list[int]]) -> Iterator[Work]:
    operator = details["op_name"]
    kind, entry = next(iter(details["input_type_shape"][0].items()))
    (output,) = details["output_type_shape"][0].values()
    if "Conv" in operator and node is not None:
        weights = [constants[each] for each in node.input if len(constants.get(each, ())) >= 3]
        if weights:
            yield Work(name, multiply_accumulates(output, weights[0][1:]), _TYPES.get(kind, kind))
    elif any(product in operator for product in _PRODUCTS):
        yield Work(name, multiply_accumulates(output, entry[-1:]), _TYPES.get(kind, kind))


def _blank(entry: Any) -> np.ndarray[Any, Any]:
    """A batch of one, or of the size that the graph is fixed to; its values do not change how it is computed."""
    return np.zeros([size if isinstance(size, int) else 1 for size in entry.shape], dtype=_INPUTS[entry.type])
