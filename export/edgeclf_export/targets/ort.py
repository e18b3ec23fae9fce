"""ONNX target: the hub itself, or its weights as fp16."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeclf_export.targets.target import Built, Hub
from edgeclf_runtime.backends.ort import MODEL, import_onnxruntime
from edgeclf_runtime.bundle.manifest import Precision
from edgeclf_runtime.errors import BackendError, one_line


def build(hub: Hub, precision: str, folder: Path) -> Built:
    if precision == "fp32":
        (folder / MODEL).write_bytes(hub.onnx)
        return Built("fp32", "fp32")
    model = to_fp16(hub.onnx)
    (folder / MODEL).write_bytes(model)
    return Built("fp16", computed_precision(model))


def to_fp16(model: bytes) -> bytes:
    """The graph in fp16 between its input and its output, which keep their types."""
    import onnx

    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return bytes(converted.SerializeToString())


def computed_precision(model: bytes) -> Precision:
    """What ONNX Runtime's CPU provider multiplies in, read from the graph that it optimised for this machine.

    A CPU without fp16 kernels gets casts around every node; the weights, folded, then tell fp32.
    """
    import onnx

    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as folder:
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # errors are raised; this one warns that the graph is for this machine
        settings.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        try:
            onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no narrower base
            raise BackendError(f"onnxruntime can't take this model as fp16 ({one_line(error)}); export fp32") from error
        graph = onnx.load(settings.optimized_model_filepath).graph
    multiplied = {name for node in graph.node if _multiplies(node.op_type) for name in node.input}
    numbers = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
    for weight in graph.initializer:
        if weight.name in multiplied and weight.data_type in numbers:
            numbers[weight.data_type] += onnx.numpy_helper.to_array(weight).size
    return "fp16" if numbers[onnx.TensorProto.FLOAT16] > numbers[onnx.TensorProto.FLOAT] else "fp32"


def _multiplies(operator: str) -> bool:
    return any(name in operator for name in ("Conv", "Gemm", "MatMul"))
