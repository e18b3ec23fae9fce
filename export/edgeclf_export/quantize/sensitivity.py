"""How sensitive each layer is: it is quantized alone, in the float network, and the logits are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of
from edgeclf_export.graph.layers import Layer, layers
from edgeclf_export.quantize.activation_ranges import run_logits
from edgeclf_export.targets.quantizer import Ranges
from edgeclf_runtime.bundle.quantization_report import Sensitivity
from edgeclf_runtime.metrics.logits import binary_kl_divergences, kl_divergences, log_softmax

IMAGES, _BATCH = 32, 8
_WEIGHT_LEVELS = 63  # as the quantizers take it: 7 bits with a sign
_LEVELS = 255
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": -1}


def measure(
    model: bytes, ranges: Ranges, pixels: NDArray[np.generic], *, multi_label: bool = False
) -> tuple[Sensitivity, ...]:
    """Every convolution and matrix product with constant weights, the most sensitive first.

    `pixels` are calibration images as the graph takes them: evaluation images choose nothing here.
    """
    import onnx

    network = onnx.load_from_string(model)
    found = layers(network)
    pixels = pixels[:IMAGES]
    wanted = run_logits(model, pixels, _BATCH)
    total = max(1, sum(layer.macs for layer in found))
    sensitivities = [
        Sensitivity(
            layer.node,
            layer.operator,
            divergence(wanted, run_logits(variant.SerializeToString(), pixels, _BATCH), multi_label=multi_label),
            layer.macs / total,
        )
        for layer in found
        if layer.weight is not None and (variant := quantize_alone(network, layer, ranges)) is not None
    ]
    return tuple(sorted(sensitivities, key=lambda sensitivity: -sensitivity.mean_kl))


def worst(sensitivities: tuple[Sensitivity, ...], share: float, most_macs: float) -> tuple[str, ...]:
    """The nodes that make up `share` of all layers, most sensitive first, with at most this share of the MACs."""
    chosen: list[str] = []
    macs = 0.0
    for sensitivity in sensitivities:
        if len(chosen) >= max(1, round(share * len(sensitivities))):
            break
        if macs + sensitivity.macs_share <= most_macs:
            chosen.append(sensitivity.node)
            macs += sensitivity.macs_share
    return tuple(chosen)


def quantize_alone(network: Any, layer: Layer, ranges: Ranges) -> Any:
    """The float network with one layer's input and weights on 8- and 7-bit grids; None: its input has no range."""
    import onnx
    from onnx import helper, numpy_helper

    if layer.entry not in ranges:
        return None
    variant = onnx.ModelProto()
    variant.CopyFrom(network)
    place, node = next((i, node) for i, node in enumerate(variant.graph.node) if node.name == layer.node)
    constant = constants_of(variant.graph)[str(layer.weight)]
    low, high = ranges[layer.entry]
    scale = np.float32(max((high - low) / _LEVELS, 1e-12))
    zero = np.uint8(np.clip(round(-low / float(scale)), 0, _LEVELS))
    axis = _output_axis(node)
    weights = numpy_helper.to_array(constant)
    names = {part: f"{layer.node}/alone/{part}" for part in ("scale", "zero", "weights", "q", "dq")}
    parts = {"scale": scale, "zero": zero, "weights": on_grid(weights, axis)}
    variant.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), names[k]) for k, v in parts.items())
    grid = [names["scale"], names["zero"]]
    variant.graph.node.insert(place, helper.make_node("DequantizeLinear", [names["q"], *grid], [names["dq"]]))
    variant.graph.node.insert(place, helper.make_node("QuantizeLinear", [layer.entry, *grid], [names["q"]]))
    node = variant.graph.node[place + 2]
    node.input[0], node.input[1] = names["dq"], names["weights"]
    return variant


def on_grid(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Weights rounded to 7 bits with one scale a channel of `axis`."""
    others = tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    step = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / _WEIGHT_LEVELS, np.finfo(np.float32).tiny)
    return np.asarray(np.round(weights / step) * step, dtype=np.float32)


def _output_axis(node: Any) -> int:
    if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
        return 1
    return _OUTPUT_AXIS[node.op_type]


def divergence(wanted: NDArray[np.float32], found: NDArray[np.float32], *, multi_label: bool = False) -> float:
    """Mean Kullback-Leibler divergence of (N, classes) logits from those wanted, nats; of several labels their mean."""
    if multi_label:
        return float(binary_kl_divergences(wanted.astype(np.float64), found.astype(np.float64)).mean())
    divergences = kl_divergences(log_softmax(wanted.astype(np.float64)), log_softmax(found.astype(np.float64)))
    return float(divergences.mean())
