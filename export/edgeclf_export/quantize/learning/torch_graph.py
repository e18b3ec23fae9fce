"""A Q/DQ graph as a torch module: it computes what ONNX Runtime does, and its weights can learn.

Rounding has no slope. The straight-through estimator (Bengio et al., "Estimating or Propagating Gradients Through
Stochastic Neurons", 2013) passes gradients by it, except where a range cuts: torch's fake quantization does both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of
from edgeclf_export.quantize.learning.operators import NoTorchForm, operators

if TYPE_CHECKING:
    import torch

_QUANTIZED = "_quantized"  # what ONNX Runtime's quantizer adds to a constant's name
_PAIR = ("QuantizeLinear", "DequantizeLinear")
# Of the bytes of all values that are rounded: values before and after, where ranges cut, the float network's, errors.
# 5.1 to 7.9 times as many were seen (EfficientNet-Lite0 and ViT-tiny at 224 px, EfficientNet-B0 at 128 px).
_KEPT_BY_A_STEP = 8


class TorchGraph:
    """The graph with its weights and biases, `parameters`, by the names that they have in the float graph.

    `taught`: values that are rounded here, and that the float graph has under the same name.
    Called with a batch as the graph takes it: (N, …) -> (N, classes) logits. Raises NoTorchForm where it is made, or,
    for a use of an operator, where it is called.
    """

    def __init__(self, quantized: bytes, float_graph: bytes) -> None:
        import onnx
        import torch
        from onnx import numpy_helper

        model = onnx.load_from_string(quantized)
        self._functions = operators()
        unknown = {node.op_type for node in model.graph.node} - self._functions.keys() - {*_PAIR}
        if unknown:
            raise NoTorchForm(", ".join(sorted(unknown)))
        floats = {
            name: numpy_helper.to_array(item)
            for name, item in constants_of(onnx.load_from_string(float_graph).graph).items()
        }
        constants = {name: numpy_helper.to_array(item) for name, item in constants_of(model.graph).items()}
        self._constants = {name: torch.from_numpy(value.copy()) for name, value in constants.items()}
        self._nodes = [(node, _attributes(node)) for node in model.graph.node]
        self._entry, self._output = model.graph.input[0].name, model.graph.output[0].name
        self._last_use = {name: place for place, (node, _) in enumerate(self._nodes) for name in node.input}
        made = {name for node in onnx.load_from_string(float_graph).graph.node for name in node.output}
        into_pairs = [node.input[0] for node, _ in self._nodes if node.op_type == "QuantizeLinear"]
        self.taught = tuple(name for name in dict.fromkeys(into_pairs) if name in made)
        self.parameters: dict[str, torch.nn.Parameter] = {}
        self._grids: dict[str, Grid] = {}
        for node, attributes in self._nodes:
            name = node.input[0].removesuffix(_QUANTIZED) if node.op_type == "DequantizeLinear" else ""
            if name in floats and node.input[0] in constants:
                grid = Grid.of(floats[name], [constants[each] for each in node.input], attributes.get("axis", 1))
                if grid is not None:
                    self._grids[node.input[0]] = grid
                    self.parameters[name] = torch.nn.Parameter(torch.from_numpy(floats[name].copy()))

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self.run(batch)[0]

    def run(self, batch: torch.Tensor) -> tuple[torch.Tensor, dict[str, Rounded]]:
        """The logits, and what came out of each Q/DQ pair of values, by the name of what went into it."""
        rounded: dict[str, Rounded] = {}
        tensors: dict[str, Any] = {self._entry: batch}
        for place, (node, attributes) in enumerate(self._nodes):
            inputs: list[Any] = [tensors[name] if name in tensors else self._constants.get(name) for name in node.input]
            found: Any
            if node.op_type == "QuantizeLinear":
                rounded[node.input[0]] = Rounded.of(*inputs)
                found = rounded[node.input[0]].value
            elif node.op_type == "DequantizeLinear":
                was_rounded = node.input[0] in tensors
                found = inputs[0] if was_rounded else self._constant(node.input[0], inputs, attributes.get("axis", 1))
            else:
                found = self._functions[node.op_type](inputs, attributes)
            tensors.update(zip(node.output, found if isinstance(found, tuple) else (found,), strict=False))
            for name in node.input:
                if self._last_use[name] == place:
                    tensors.pop(name, None)
        return tensors[self._output], rounded

    def bytes_per_image(self, image: torch.Tensor) -> int:
        """About what a step of learning needs for one image, (1, …), beside what it needs for none."""
        import torch

        with torch.no_grad():
            _, rounded = self.run(image)
        return max(1, _KEPT_BY_A_STEP * sum(each.value.nbytes for each in rounded.values()))

    def _constant(self, name: str, inputs: list[Any], axis: int) -> torch.Tensor:
        """What DequantizeLinear makes of a constant: of one that learns, from its value now."""
        if (grid := self._grids.get(name)) is not None:
            return grid.on(self.parameters[name.removesuffix(_QUANTIZED)])
        stored, scale, *zero = inputs
        along = [-1 if place == axis % stored.dim() else 1 for place in range(stored.dim())]
        scale, *zero = (each.reshape(along) if each.numel() > 1 else each for each in (scale, *zero))
        point = zero[0].float() if zero else 0.0
        values: torch.Tensor = (stored.float() - point) * scale
        return values

    def unit(self, name: str) -> float:
        """What a parameter's change is measured in: the mean step of its grid, or a tenth of a bias's mean size."""
        grid, value = self._grids[f"{name}{_QUANTIZED}"], self.parameters[name].detach()
        step = grid.step(value)
        return float(step.mean()) if step is not None else max(0.1 * float(value.abs().mean()), 1e-4)

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Takes these values of its parameters."""
        import torch

        with torch.no_grad():
            for name, value in weights.items():
                self.parameters[name].copy_(torch.from_numpy(value))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The parameters' values now, by the names of the float graph."""
        return {name: each.detach().numpy().copy() for name, each in self.parameters.items()}


class Grid:
    """Where a constant may lie: weights on `levels` steps to each side of 0, biases (None) anywhere."""

    def __init__(self, levels: int | None, axis: int | None) -> None:
        self._levels, self._axis = levels, axis

    @classmethod
    def of(cls, weights: NDArray[np.float32], stored: list[NDArray[Any]], axis: int) -> Grid | None:
        """From a constant in float and what DequantizeLinear takes; None: not symmetric, so no weight of a layer."""
        integers, scale, *zero = stored
        if integers.dtype == np.int32:
            return cls(None, None)
        if integers.dtype != np.int8 or any(point.any() for point in zero) or integers.shape != weights.shape:
            return None
        return cls(int(np.abs(integers.astype(np.int16)).max()), axis % weights.ndim if scale.size > 1 else None)

    def on(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights as they come out of Q/DQ, with the scale that the quantizer would give them now."""
        import torch

        step = self.step(weights.detach())
        if self._levels is None or step is None:
            return weights
        if self._axis is None:
            return torch.fake_quantize_per_tensor_affine(weights, step.item(), 0, -self._levels, self._levels)
        zeros = torch.zeros(len(step), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weights, step, zeros, self._axis, -self._levels, self._levels)

    def step(self, weights: torch.Tensor) -> torch.Tensor | None:
        """From one level to the next, for all weights or for each channel; None: there are no levels."""
        import torch

        if self._levels is None:
            return None
        others = tuple(place for place in range(weights.dim()) if place != self._axis)
        return weights.abs().amax(others).clamp(min=torch.finfo(torch.float32).tiny) / self._levels


@dataclass(frozen=True)
class Rounded:
    """A value as it comes out of a Q/DQ pair, and the range that cuts it off."""

    value: torch.Tensor
    low: float
    high: float

    @classmethod
    def of(cls, value: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> Rounded:
        """In float, since DequantizeLinear then has nothing left to do."""
        import torch

        limits, step, point = torch.iinfo(zero.dtype), scale.item(), int(zero.item())
        rounded = torch.fake_quantize_per_tensor_affine(value, step, point, limits.min, limits.max)
        return cls(rounded, (limits.min - point) * step, (limits.max - point) * step)


def _attributes(node: Any) -> dict[str, Any]:
    """Values by name; tensors as torch's."""
    import onnx
    import torch
    from onnx import numpy_helper

    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {
        name: torch.from_numpy(numpy_helper.to_array(value).copy()) if isinstance(value, onnx.TensorProto) else value
        for name, value in values.items()
    }
