"""INT8 for TensorRT: symmetric, no quantized bias, residual additions quantized on one side, the rest in FP16.

TensorRT follows Q/DQ exactly (explicit quantization): where a pair is decides what is fused. So inputs of convolutions
and products are quantized, their outputs are not, and of a residual addition the branch that ends in a convolution
stays as it is, so that convolution, addition and activation become one kernel:
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgeclf_export.graph.casting import cast_graph
from edgeclf_export.graph.editing import constants_of, makers_of, replace_nodes
from edgeclf_export.targets.ort_quantizer import tensors_data
from edgeclf_export.targets.quantizer import Ranges
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.errors import DataError, one_line

_QUANTIZED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FP16_PAIRS_OPSET = 19
_PAIR = ("QuantizeLinear", "DequantizeLinear")


def quantize(model: bytes, ranges: Ranges, *, leave: Collection[str] = ()) -> bytes:
    """The network with int8 Q/DQ pairs where TensorRT makes use of them. `leave`: nodes that stay in float."""
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import QDQQuantizer, QuantType

    network = onnx.load_from_string(model)
    constants = constants_of(network.graph)
    biases = [n.name for n in network.graph.node if n.op_type == "Add" and any(name in constants for name in n.input)]
    quantizer = QDQQuantizer(
        network,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=tensors_data(ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=[*leave, *biases],
        op_types_to_quantize=list(_QUANTIZED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "DedicatedQDQPair": False,
            "ForceQuantizeNoInputCheck": True,
            "OpTypesToExcludeOutputQuantization": sorted({node.op_type for node in network.graph.node}),
            "QDQOpTypePerChannelSupportToAxis": {"Conv": 0, "ConvTranspose": 1, "MatMul": 1},
            "QDQDisableWeightAdjustForInt32Bias": True,
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized = quantizer.model.model
    _free_one_side(quantized.graph)
    _drop_unused(quantized.graph)
    return bytes(quantized.SerializeToString())


def rest_in_fp16(model: bytes) -> bytes:
    """The graph with all that is not quantized in FP16, scales and weights too: casts behind Q/DQ would stop fusion.

    Raises DataError where the graph can't be converted to the opset whose pairs may be FP16.
    """
    import onnx

    try:
        converted = onnx.version_converter.convert_version(onnx.load_from_string(model), _FP16_PAIRS_OPSET)
    except RuntimeError as error:
        raise DataError(
            f"the graph can't be converted to opset {_FP16_PAIRS_OPSET}, whose Q/DQ may be FP16 ({one_line(error)})"
        ) from error
    return cast_graph(bytes(converted.SerializeToString()), "fp16")


def _free_one_side(graph: Any) -> None:
    """Removes the Q/DQ from the branch of each residual addition that ends in the deepest product."""
    makers = makers_of(graph)
    depth: dict[str, int] = {}
    for node in graph.node:
        depth[node.output[0]] = 1 + max((depth.get(name, 0) for name in node.input), default=0)
    for node in graph.node:
        if node.op_type != "Add":
            continue
        ends = [(place, _before_pair(name, makers)) for place, name in enumerate(node.input)]
        products = [
            (depth[name], place, name)
            for place, name in ends
            if name is not None and name in makers and makers[name].op_type in _PRODUCTS
        ]
        if products:
            _, place, name = max(products)
            node.input[place] = name


def _before_pair(name: str, makers: dict[str, Any]) -> str | None:
    """The tensor that a Q/DQ pair takes; None: it is no pair."""
    for operator in ("DequantizeLinear", "QuantizeLinear"):
        node = makers.get(name)
        if node is None or node.op_type != operator:
            return None
        name = node.input[0]
    return name


def _drop_unused(graph: Any) -> None:
    """Removes pairs that no node reads any more, and their constants."""
    read, kept = {item.name for item in graph.output}, []
    for node in reversed(graph.node):
        if node.op_type not in _PAIR or read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    replace_nodes(graph, kept[::-1])
