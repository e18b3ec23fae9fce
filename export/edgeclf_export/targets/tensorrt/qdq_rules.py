"""TensorRT's rules for QuantizeLinear and DequantizeLinear, and what makes them fast (explicit quantization).

int8, symmetric (every zero point 0), weights per channel, no quantized bias, and of a residual Add one side only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from edgeclf_export.graph.editing import constants_of, makers_of

_Found = tuple[Literal["error", "warning"], str, str, str, str]
_SMALLEST_NORMAL_FP16 = 6.104e-5
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def lint_quantization(graph: Any) -> Iterator[_Found]:
    """(level, operator, node, what, instead) of each node that breaks a rule."""
    constants, makers = constants_of(graph), makers_of(graph)
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            for level, what, instead in [*_zero_point(node, constants), *_scale(node, constants)]:
                yield level, node.op_type, node.name, what, instead
        elif node.op_type in _WEIGHTED or node.op_type == "Add":
            for what, instead in _placement(node, makers, constants):
                yield "warning", node.op_type, node.name, what, instead


def _zero_point(node: Any, constants: dict[str, Any]) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
    from onnx import TensorProto, numpy_helper

    point = constants.get(node.input[2]) if len(node.input) > 2 else None
    if point is None:
        dtype = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        if node.op_type == "QuantizeLinear" and dtype != TensorProto.INT8:
            yield "error", "has no constant zero point, which ONNX reads as uint8", "give it an int8 zero point of 0"
        return
    if point.data_type == TensorProto.UINT8:
        what = "is uint8, which TensorRT reads as int8: values above 127 saturate"
        yield "error", what, "quantize to int8, symmetric"
    if point.data_type == TensorProto.INT32:
        yield "error", "is of a bias quantized to int32", "leave biases in float"
    if numpy_helper.to_array(point).astype(np.int64).any():
        yield "error", "has a zero point other than 0", "quantize symmetric"


def _scale(node: Any, constants: dict[str, Any]) -> Iterator[tuple[Literal["error", "warning"], str, str]]:
    from onnx import TensorProto, numpy_helper

    scale = constants.get(node.input[1])
    if scale is None:
        yield "error", "has a scale that is computed", "quantize with constant scales"
        return
    if scale.data_type == TensorProto.BFLOAT16:
        return  # its exponent is that of fp32
    values = numpy_helper.to_array(scale).astype(np.float64)
    if not (values > 0).all():
        yield "error", f"has a scale of {values.min():g}", "scales must be above 0"
    elif scale.data_type == TensorProto.FLOAT16 and values.min() < _SMALLEST_NORMAL_FP16:
        what = f"has an fp16 scale of {values.min():.1g}, too small to be exact"
        yield "warning", what, "keep the node in fp32, or leave out a channel of zeros"


def _placement(node: Any, makers: dict[str, Any], constants: dict[str, Any]) -> Iterator[tuple[str, str]]:
    def is_quantized(name: str) -> bool:
        return name in makers and makers[name].op_type == "DequantizeLinear"

    quantized = [is_quantized(name) for name in node.input[:2]]
    if node.op_type == "Add":
        if all(quantized):
            yield "both sides are quantized, so that it does not fuse into a Conv", "quantize only the skip connection"
        return
    if any(quantized) and not all(quantized):
        yield "only one of its two inputs is quantized, so that it runs in float", "quantize both, or none"
    if quantized[1]:
        scale = constants.get(makers[node.input[1]].input[1])
        if scale is not None and int(np.prod(scale.dims, dtype=np.int64)) == 1:
            yield "its weights have one scale for all channels", "quantize weights per channel"
