"""Bias correction of a Q/DQ network: the mean shift by quantization is subtracted from the biases, layer by layer.

The empirical form of Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (ICCV
2019): in the order of the graph, so that each layer is corrected with all before it corrected already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of, cut_to, makers_of
from edgeclf_export.quantize.activation_ranges import open_quietly

IMAGES, _BATCH = 64, 16  # means settle long before ranges do
_CHANNEL_AXIS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1}


def correct_biases(model: bytes, quantized: bytes, pixels: NDArray[np.generic]) -> bytes:
    """The quantized network whose convolutions and Gemms have the channel means of the float one.

    `pixels` are calibration images as the graph takes them.
    """
    import onnx

    pixels = pixels[:IMAGES]
    network = onnx.load_from_string(quantized)
    found = [node for node in network.graph.node if node.op_type in _CHANNEL_AXIS and len(node.input) > 2]
    if not found:  # networks without biases, such as random ones whose zeros were simplified away
        return quantized
    wanted = _means(onnx.load_from_string(model), [(node.name, node.op_type) for node in found], pixels)
    for node in found:
        (now,) = _means(network, [(node.name, node.op_type)], pixels).values()
        _shift_bias(network, node, wanted[node.name] - now)
    return bytes(network.SerializeToString())


def _means(model: Any, nodes: list[tuple[str, str]], pixels: NDArray[np.generic]) -> dict[str, NDArray[np.float64]]:
    """Of each node the mean of its first output's channels, before any Q/DQ behind it."""
    import onnx

    outputs = {node.name: node.output[0] for node in model.graph.node}
    names = [outputs[name] for name, _ in nodes]
    session = open_quietly(cut_to(model, names, onnx.TensorProto.FLOAT).SerializeToString())
    entry = session.get_inputs()[0].name
    sums: list[NDArray[np.float64]] = []
    for place in range(0, len(pixels), _BATCH):
        batch = pixels[place : place + _BATCH]
        means = [
            _mean(found, _CHANNEL_AXIS[operator]) * len(batch)
            for found, (_, operator) in zip(session.run(names, {entry: batch}), nodes, strict=True)
        ]
        sums = means if not sums else [total + mean for total, mean in zip(sums, means, strict=True)]
    return {name: total / len(pixels) for (name, _), total in zip(nodes, sums, strict=True)}


def _mean(found: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    axis %= found.ndim
    mean: NDArray[np.float64] = found.mean(axis=tuple(i for i in range(found.ndim) if i != axis), dtype=np.float64)
    return mean


def _shift_bias(model: Any, node: Any, by: NDArray[np.float64]) -> None:
    """Adds to a bias that is float, or int32 behind a DequantizeLinear; what two layers share stays as it is."""
    from onnx import numpy_helper

    constants, makers = constants_of(model.graph), makers_of(model.graph)
    name, scale = node.input[2], np.float64(1)
    if name in makers and makers[name].op_type == "DequantizeLinear":
        dequantize = makers[name]
        scale = numpy_helper.to_array(constants[dequantize.input[1]]).astype(np.float64)
        name = dequantize.input[0]
    if name not in constants or sum(entry == node.input[2] for each in model.graph.node for entry in each.input) > 1:
        return
    bias = numpy_helper.to_array(constants[name])
    if bias.shape != by.shape:
        return
    shifted = bias + by / scale
    if bias.dtype == np.int32:
        limits = np.iinfo(np.int32)
        shifted = np.clip(np.round(shifted), limits.min, limits.max)
    constants[name].CopyFrom(numpy_helper.from_array(shifted.astype(bias.dtype), name))
