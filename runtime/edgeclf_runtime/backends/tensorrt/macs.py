"""How much a network multiplies, node by node: what an audit weighs the engine's precisions with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# of tensorrt.DataType
PRECISION_NAMES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}


@dataclass(frozen=True, slots=True)
class Work:
    """A convolution or matrix product: its ONNX node, its multiply-accumulates for one image, its type in the graph."""

    node: str
    macs: int
    precision: str


def network_work(trt: Any, network: Any) -> Iterator[Work]:
    """The convolutions and matrix products of a parsed `INetworkDefinition`."""
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        entry, output = layer.get_input(0), layer.get_output(0)
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION):
            macs = _convolution_macs(trt, layer, entry, output)
        elif layer.type == trt.LayerType.MATRIX_MULTIPLY:
            macs = _product_macs(trt, layer, entry, output)
        else:
            continue
        name = str(entry.dtype).rpartition(".")[2]
        yield Work(layer.name, macs, PRECISION_NAMES.get(name, name.lower()))


def _convolution_macs(trt: Any, layer: Any, entry: Any, output: Any) -> int:
    """Every output (of a transposed convolution: every input) pixel times the kernel times the channels it sees."""
    transposed = layer.type == trt.LayerType.DECONVOLUTION
    # get_layer gives the plain ILayer; its class tells the bindings which one it is, as NVIDIA's own Polygraphy does
    layer.__class__ = trt.IDeconvolutionLayer if transposed else trt.IConvolutionLayer
    convolution = layer
    counted, channels = (entry, output.shape[1]) if transposed else (output, entry.shape[1])
    kernel = math.prod(tuple(convolution.kernel_size_nd))
    return int(_elements(counted.shape) * kernel * abs(channels) // convolution.num_groups)


def _product_macs(trt: Any, layer: Any, entry: Any, output: Any) -> int:
    layer.__class__ = trt.IMatrixMultiplyLayer
    product = layer
    shared = -2 if product.op0 == trt.MatrixOperation.TRANSPOSE else -1
    return int(_elements(output.shape) * abs(tuple(entry.shape)[shared]))


def _elements(shape: Any) -> int:
    """Elements for one image: the batch, and whatever else is only known later (-1), counts as 1."""
    return math.prod(max(1, size) for size in tuple(shape))
