"""Features as the second output of a finished ONNX graph: what its last product, the head, takes."""

from __future__ import annotations

from typing import Any

from edgeclf_export.graph.editing import constants_of, inferred, makers_of, replace_nodes
from edgeclf_export.graph.onnx_graph import FEATURES_NAME
from edgeclf_runtime.errors import UsageError

_PRODUCTS = ("Gemm", "MatMul", "MatMulInteger", "QGemm")
_BETWEEN = ("Add", "Cast", "Identity", "DequantizeLinear", "QuantizeLinear", "Reshape", "Squeeze", "Flatten")
_COPIES = ("Cast", "Identity", "DequantizeLinear", "QuantizeLinear")


def with_features(data: bytes, width: int) -> bytes:
    """The graph with (N, width) float32 features as its second output. Its nodes stay, so logits keep their bits.

    Of a quantized head they are what is quantized, so that they keep their own precision. Raises UsageError where the
    graph does not end in a linear layer.
    """
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    tensor = _before_rounding(_features_of(graph), makers_of(graph))
    graph.node.append(
        onnx.helper.make_node("Cast", [tensor], [FEATURES_NAME], name=FEATURES_NAME, to=onnx.TensorProto.FLOAT)
    )
    (batch,) = list(graph.output[0].type.tensor_type.shape.dim)[:1]
    graph.output.append(
        onnx.helper.make_tensor_value_info(
            FEATURES_NAME, onnx.TensorProto.FLOAT, [batch.dim_param or batch.dim_value, width]
        )
    )
    onnx.checker.check_model(inferred(model))
    return bytes(model.SerializeToString())


def without_features(data: bytes) -> bytes:
    """The graph with its logits alone; one that has no more stays bit for bit."""
    import onnx

    model = onnx.load_from_string(data)
    if len(model.graph.output) == 1:
        return data
    del model.graph.output[1:]
    replace_nodes(model.graph, [node for node in model.graph.node if FEATURES_NAME not in node.output])
    return bytes(model.SerializeToString())


def _features_of(graph: Any) -> str:
    """What the product that makes the logits takes beside its weights."""
    makers, constants = makers_of(graph), constants_of(graph)
    name = graph.output[0].name
    while (node := makers.get(name)) is not None:
        entries = [
            entry for entry in node.input if entry not in constants and not _is_constant(entry, makers, constants)
        ]
        if node.op_type in _PRODUCTS and len(entries) >= 1:
            return str(entries[0])
        if node.op_type not in _BETWEEN or len(entries) != 1:
            break
        name = entries[0]
    raise UsageError(
        "this network does not end in a linear layer, so it has no features before its head; leave --features out"
    )


def _is_constant(name: str, makers: dict[str, Any], constants: dict[str, Any]) -> bool:
    """Whether a tensor follows from constants alone, as dequantized weights do."""
    node = makers.get(name)
    if node is None:
        return name in constants
    return node.op_type in ("Constant", *_COPIES, "Transpose") and all(
        not entry or _is_constant(entry, makers, constants) for entry in node.input
    )


def _before_rounding(name: str, makers: dict[str, Any]) -> str:
    """The tensor that was quantized, where this one is its Q/DQ copy."""
    node = makers.get(name)
    while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        name = node.input[0]
        node = makers.get(name)
    return name
