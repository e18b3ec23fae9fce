"""Static Q/DQ by ONNX Runtime's own quantizer, from ranges that were measured before.

Weights are int8 per channel in 7 bits. Without VNNI an x86 CPU adds two products of 8 bits in 16 (VPMADDUBSW): two
uint8 activations of 255 times weights of 127 are 64,770 and saturate, times 64 they are 32,640 and can't. So a model
gives the same logits on every CPU, the purpose of ONNX Runtime's `reduce_range`:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-to-use-reduce-range-and-per-channel-quantization

SiLU is quantized in its two parts, for which there are int8 kernels. Left whole, as OpenVINO computes it, it is in
float between Q/DQ, and EfficientNet-B0 took 1.44 times as long (ONNX Runtime 1.32, 160 px, one thread, runs in turns).
For Hardswish there is no int8 kernel, so that it is whole and in float anyway.

A layer that is left in float between quantized ones would not stay so: ONNX Runtime quantizes its weights as it loads
the model, per tensor, unless its bias is no constant in float (1.22 to 1.32: `WeightBiasQuantization`). On
EfficientNet-Lite0 one such layer doubled the error of the logits, where in float it lowers it by a quarter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from edgeclf_export.graph.editing import constants_of, makers_of, replace_nodes
from edgeclf_export.graph.layers import family
from edgeclf_export.targets.log_warnings import without_log_warnings
from edgeclf_export.targets.quantizer import Ranges
from edgeclf_runtime.backends.ort import import_onnxruntime

PRODUCTS = ("Conv", "Gemm", "MatMul")
_WITHOUT_KERNEL = {"BatchNormalization"}  # computed in float anyway: rounding its constants would only cost accuracy


def quantize(model: bytes, ranges: Ranges, *, leave: Collection[str] = (), only: Collection[str] = ()) -> bytes:
    """The network with Q/DQ around what ONNX Runtime computes in int8.

    Parameters
    ----------
    leave
        Nodes that stay in float.
    only
        The only nodes to quantize; none: all that can be. Transformers: only products, the rest stays in float.
    """
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    float_model = onnx.load_from_string(model)
    everything = sorted({*QLinearOpsRegistry, *QDQRegistry} - _WITHOUT_KERNEL)
    operators = list(PRODUCTS) if only or family(float_model) == "transformer" else everything
    quantizer = QDQQuantizer(
        float_model,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=tensors_data(ranges),
        nodes_to_quantize=list(only),
        nodes_to_exclude=list(leave),
        op_types_to_quantize=operators,
        extra_options={"QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}},
    )
    with without_log_warnings():  # of scales of normalization layers, which have no channel axis
        quantizer.quantize_model()
    quantizer.model.topological_sort()
    _keep_in_float(quantizer.model.model.graph, ranges)
    return bytes(quantizer.model.model.SerializeToString())


def _keep_in_float(graph: Any, ranges: Ranges) -> None:
    """Has ONNX Runtime compute layers with float weights in float: their biases become 32-bit integers with a scale.

    The scale leaves room for a bias correction of the size of the layer's output.
    """
    from onnx import helper, numpy_helper

    constants, makers, biases = constants_of(graph), makers_of(graph), []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.input[1] not in constants:
            continue
        if node.input[0] not in makers or makers[node.input[0]].op_type != "DequantizeLinear":
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and bias not in constants:
            continue
        values = numpy_helper.to_array(constants[bias]) if bias else np.zeros(_width(node, constants), np.float32)
        largest = max(float(np.abs(values).max()), *map(abs, ranges.get(node.output[0], (1.0, 1.0))))
        scale = np.float32(max(largest, 1e-30) / 2**29)
        name = f"{node.output[0]}_bias_in_float"
        parts = {f"{name}_int32": np.round(values / scale).astype(np.int32), f"{name}_scale": np.asarray(scale)}
        graph.initializer.extend(numpy_helper.from_array(part, key) for key, part in parts.items())
        biases.append(helper.make_node("DequantizeLinear", list(parts), [name], name=name))
        node.input[:] = [*node.input[:2], name]
    if biases:
        replace_nodes(graph, [*biases, *graph.node])


def _width(node: Any, constants: Mapping[str, Any]) -> int:
    """Output channels of a layer with constant weights."""
    dims = constants[node.input[1]].dims
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "ConvTranspose":
        return int(dims[1] * attributes.get("group", 1))
    return int(dims[0] if node.op_type == "Conv" or attributes.get("transB") else dims[1])


def tensors_data(ranges: Ranges) -> Any:
    """The ranges as ONNX Runtime's quantizer takes them."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)
