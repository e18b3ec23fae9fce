"""Static Q/DQ by ONNX Runtime's own quantizer, from ranges that were measured before.

Weights are int8 per channel in 7 bits. Without VNNI an x86 CPU adds two products of 8 bits in 16 (VPMADDUBSW): two
uint8 activations of 255 times weights of 127 are 64,770 and saturate, times 64 they are 32,640 and can't. So a model
gives the same logits on every CPU, the purpose of ONNX Runtime's `reduce_range`:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-to-use-reduce-range-and-per-channel-quantization

SiLU is quantized in its two parts, for which there are int8 kernels. Left whole, as OpenVINO computes it, it is in
float between Q/DQ, and EfficientNet-B0 took 1.44 times as long (ONNX Runtime 1.32, 160 px, one thread, runs in turns).
For Hardswish there is no int8 kernel, so that it is whole and in float anyway.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

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
    return bytes(quantizer.model.model.SerializeToString())


def tensors_data(ranges: Ranges) -> Any:
    """The ranges as ONNX Runtime's quantizer takes them."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)
