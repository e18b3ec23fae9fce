"""Bias correction of a Q/DQ network: the mean shift by quantization is subtracted from the biases, layer by layer.

The empirical form of Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction" (ICCV
2019): in the order of the graph, so that each layer is corrected with all before it corrected already. The graph is run
once, in pieces that end in a layer each: from its input anew for every layer took three quarters of a ladder's time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.batches import batched
from edgeclf_export.graph.editing import constants_of, cut_to, makers_of
from edgeclf_export.graph.pieces import Piece, pieces
from edgeclf_export.quantize.activation_ranges import fixed_batch, open_quietly

IMAGES, _BATCH = 64, 16  # means settle long before ranges do
_CHANNEL_AXIS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1}

Shifts = dict[str, NDArray[np.float64]]  # node -> what was added to its bias, a value a channel
_Values = dict[str, NDArray[np.generic]]


def correct_biases(model: bytes, quantized: bytes, pixels: NDArray[np.generic]) -> bytes:
    """The quantized network whose convolutions and Gemms have the channel means of the float one.

    `pixels` are calibration images as the graph takes them.
    """
    return shifted(quantized, bias_shifts(model, quantized, pixels))


def bias_shifts(model: bytes, quantized: bytes, pixels: NDArray[np.generic]) -> Shifts:
    """What `correct_biases` adds to the bias of each node."""
    import onnx

    pixels = pixels[:IMAGES]
    network = onnx.load_from_string(quantized)
    found = [node.name for node in network.graph.node if _has_own_bias(network, node)]
    if not found:  # networks without biases, such as random ones whose zeros were simplified away
        return {}
    batches = batched(pixels, fixed_batch(open_quietly(model)), _BATCH)
    wanted = _means(onnx.load_from_string(model), found, batches)
    shifts: Shifts = {}
    values: _Values = {network.graph.input[0].name: np.concatenate(batches)}
    for piece in pieces(network, found):
        values = _run(piece, values, len(batches[0]))
        last = piece.nodes[-1]
        output, axis = values[last.output[0]], _CHANNEL_AXIS[last.op_type]
        shifts[last.name] = wanted[last.name] - _mean(output, axis)
        values[last.output[0]] = output + _along(axis, output.ndim, shifts[last.name]).astype(output.dtype)
    return shifts


def shifted(model: bytes, shifts: Shifts) -> bytes:
    """A network, float or with Q/DQ, with this added to its biases."""
    import onnx

    if not shifts:
        return model
    network = onnx.load_from_string(model)
    for node in network.graph.node:
        if node.name in shifts and _has_own_bias(network, node):
            _shift_bias(network, node, shifts[node.name])
    return bytes(network.SerializeToString())


def _run(piece: Piece, values: _Values, size: int) -> _Values:
    """What later pieces need, of all images, and the last node's output."""
    session = open_quietly(piece.model({name: values[name] for name in piece.inputs}))
    count = max(len(values[name]) for name in values)
    batches = [
        session.run(list(piece.outputs), {name: values[name][i : i + size] for name in piece.inputs})
        for i in range(0, count, size)
    ]
    made = {name: np.concatenate(parts) for name, parts in zip(piece.outputs, zip(*batches, strict=True), strict=True)}
    return {name: value for name, value in {**values, **made}.items() if name in piece.needed_later or name in made}


def _means(model: Any, names: list[str], batches: list[NDArray[np.generic]]) -> dict[str, NDArray[np.float64]]:
    """Of each node the mean of its first output's channels."""
    import onnx

    nodes = {node.name: node for node in model.graph.node}
    outputs = [nodes[name].output[0] for name in names]
    session = open_quietly(cut_to(model, outputs, onnx.TensorProto.FLOAT).SerializeToString())
    entry = session.get_inputs()[0].name
    sums = dict.fromkeys(names, np.zeros(1))
    for batch in batches:
        for name, found in zip(names, session.run(outputs, {entry: batch}), strict=True):
            sums[name] = sums[name] + _mean(found, _CHANNEL_AXIS[nodes[name].op_type]) * len(batch)
    return {name: total / sum(map(len, batches)) for name, total in sums.items()}


def _mean(found: NDArray[Any], axis: int) -> NDArray[np.float64]:
    axis %= found.ndim
    mean: NDArray[np.float64] = found.mean(axis=tuple(i for i in range(found.ndim) if i != axis), dtype=np.float64)
    return mean


def _along(axis: int, dimensions: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values of channels in a shape that is added to a tensor whose channels are on `axis`."""
    return values.reshape([-1 if place == axis % dimensions else 1 for place in range(dimensions)])


def _has_own_bias(model: Any, node: Any) -> bool:
    """Whether a node has a constant bias, float, or int32 behind a DequantizeLinear, that no other node reads."""
    if node.op_type not in _CHANNEL_AXIS or len(node.input) < 3:
        return False
    name, _ = _stored_bias(model, node)
    readers = sum(entry == node.input[2] for each in model.graph.node for entry in each.input)
    return readers == 1 and name in constants_of(model.graph)


def _stored_bias(model: Any, node: Any) -> tuple[str, NDArray[np.float64]]:
    """The constant that holds a bias, and the scale of its numbers."""
    from onnx import numpy_helper

    maker = makers_of(model.graph).get(node.input[2])
    if maker is None or maker.op_type != "DequantizeLinear":
        return node.input[2], np.ones(1)
    scale = numpy_helper.to_array(constants_of(model.graph)[maker.input[1]])
    return maker.input[0], scale.astype(np.float64)


def _shift_bias(model: Any, node: Any, by: NDArray[np.float64]) -> None:
    from onnx import numpy_helper

    name, scale = _stored_bias(model, node)
    constant = constants_of(model.graph)[name]
    bias = numpy_helper.to_array(constant)
    if bias.shape != by.shape:
        return
    moved = bias + by / scale
    if bias.dtype == np.int32:
        limits = np.iinfo(np.int32)
        moved = np.clip(np.round(moved), limits.min, limits.max)
    constant.CopyFrom(numpy_helper.from_array(moved.astype(bias.dtype), name))
