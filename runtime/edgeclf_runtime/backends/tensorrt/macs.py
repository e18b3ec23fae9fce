"""How much a network multiplies, node by node: what an audit weighs the engine's precisions with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeclf_runtime.backends.audit import Work, multiply_accumulates

# of tensorrt.DataType
PRECISION_NAMES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}


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
    transposed = layer.type == trt.LayerType.DECONVOLUTION
    # get_layer gives the plain ILayer; the bindings know by its class which one it is, as NVIDIA's own Polygraphy does
    layer.__class__ = trt.IDeconvolutionLayer if transposed else trt.IConvolutionLayer
    convolution = layer
    counted, channels = (entry, output.shape[1]) if transposed else (output, entry.shape[1])
    met = (*convolution.kernel_size_nd, channels // convolution.num_groups)
    return multiply_accumulates(counted.shape, met)


def _product_macs(trt: Any, layer: Any, entry: Any, output: Any) -> int:
    layer.__class__ = trt.IMatrixMultiplyLayer
    product = layer
    shared = -2 if product.op0 == trt.MatrixOperation.TRANSPOSE else -1
    return multiply_accumulates(output.shape, (tuple(entry.shape)[shared],))
