"""ONNX files that are quantized already: what they hold, what limits them, and the same network without rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of, graphs_of, lift_constants, replace_nodes

_STATIC = ("QuantizeLinear", "DequantizeLinear", "QLinear", "QGemm")  # ranges are in the file
_OTHERS = ("QAttention", "QEmbed", "QMoE", "QOrdered")
_PARTS = ("Quantize", "Integer", "NBits", "Bnb4")
_NEVER_SATURATES = 64  # VPMADDUBSW adds two products of uint8 and int8 in 16 bits
# Operators on integers: the one in float, and of each input the places of the value, its scale and its zero point.
# Of a bias, the scale is the product of those of the inputs before it. The output's pair comes after the inputs.
_FLOAT_OF = {
    "QLinearConv": ("Conv", ((0, 1, 2), (3, 4, 5)), (6, 7), 8),
    "QLinearMatMul": ("MatMul", ((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "QGemm": ("Gemm", ((0, 1, 2), (3, 4, 5)), (7, 8), 6),
    "QLinearAdd": ("Add", ((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "QLinearMul": ("Mul", ((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "QLinearSigmoid": ("Sigmoid", ((0, 1, 2),), (3, 4), None),
    "QLinearLeakyRelu": ("LeakyRelu", ((0, 1, 2),), (3, 4), None),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", ((0, 1, 2),), (3, 4), None),
    "QLinearAveragePool": ("AveragePool", ((0, 1, 2),), (3, 4), None),
}
_ONLY_OF_QUANTIZED = ("channels_last",)


def quantized_operators(model: Any) -> Counter[str]:
    """How many nodes of each kind make a model a quantized one; empty: it is in float."""
    nodes = [node for graph in graphs_of(model) for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    return Counter(node.op_type for node in nodes if _is_quantized(node.op_type))


def is_static(operators: Counter[str]) -> bool:
    """Whether ranges are in the file: such a network runs as it is, others measure ranges for each image."""
    integers = any(operator != "DequantizeLinear" for operator in operators)  # else weights alone are stored in 8 bits
    return integers and all(operator.startswith(_STATIC) for operator in operators)


def in_words(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in operators.most_common(3))


def may_saturate(model: Any) -> bool:
    """Whether weights are so large that a CPU without VNNI gives other logits."""
    weights = [item for item in _with_lifted_constants(model).graph.initializer if len(item.dims) > 1]
    return any(np.abs(value.astype(np.int16)).max(initial=0) > _NEVER_SATURATES for value in _int8(weights))


def reference_of(model: Any, runs: Callable[[Any], bool]) -> tuple[Any, tuple[str, ...]]:
    """What bundles of a model are compared with, and a sentence for each limit of one that is quantized already.

    `runs`: whether a model in float can be run, since the rules of operators on integers are not all followed here.
    """
    operators = quantized_operators(model)
    if not operators:
        return model, ()
    unrounded = without_rounding(model)
    if unrounded is not None and not runs(unrounded):
        unrounded = None
    compared = (
        "it is compared with itself in float (the same weights and ranges, nothing rounded); what its quantization "
        "cost against the network that it was made from is not known"
        if unrounded is not None
        else "it can't be put into float, so it is compared with its own int8 logits, which says nothing about rounding"
    )
    limits = [
        f"the file is quantized already ({in_words(operators)}), and taken as it is: it was not calibrated here, and "
        f"passed no accuracy gate; {compared}"
    ]
    if may_saturate(model):
        limits.append(
            "its weights are in 8 bits, so a CPU without VNNI may give other logits: run `edgeclf verify` on each "
            "device"
        )
    return model if unrounded is None else unrounded, tuple(limits)


def without_rounding(model: Any) -> Any | None:
    """The model in float: the same weights, values cut to the same ranges, none rounded. None: it can't be put so."""
    from onnx import helper

    copy = _with_lifted_constants(model)
    writer = _FloatWriter(copy)
    try:
        for node in copy.graph.node:
            writer.take(node)
    except (_NoFloat, ValueError):  # ValueError: of numpy, where a scale does not fit its weights
        return None
    replace_nodes(copy.graph, writer.nodes)
    del copy.graph.value_info[:]
    domains = {"", "ai.onnx"}.union(node.domain for node in writer.nodes)
    kept = [helper.make_opsetid(each.domain, each.version) for each in model.opset_import if each.domain in domains]
    del copy.opset_import[:]
    copy.opset_import.extend(kept)
    return copy


def _with_lifted_constants(model: Any) -> Any:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    lift_constants(copy.graph)
    return copy


class _NoFloat(Exception):
    """An operator has no form in float here."""


class _FloatWriter:
    """Writes the nodes in float, one after the other; tensors keep their names."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self._graph = model.graph
        self._constants = {name: numpy_helper.to_array(item) for name, item in constants_of(model.graph).items()}
        self.nodes: list[Any] = []
        self._in_float: set[str] = set()  # tensors of integers in the file

    def take(self, node: Any) -> None:
        if node.op_type == "QuantizeLinear":
            self._cut(node.input[0], node.output[0], node.input[1], node.input[2] if len(node.input) > 2 else "")
        elif node.op_type == "DequantizeLinear":
            self._dequantize(node)
        elif node.op_type in _FLOAT_OF:
            self._compute(node)
        elif _is_quantized(node.op_type):
            raise _NoFloat
        else:
            self.nodes.append(node)
            if self._in_float.intersection(node.input):  # it moves integers about
                self._in_float.update(node.output)

    def _dequantize(self, node: Any) -> None:
        from onnx import helper

        if node.input[0] in self._in_float:  # its QuantizeLinear has done the work of both
            self.nodes.append(helper.make_node("Identity", [node.input[0]], list(node.output)))
            return
        if node.input[0] not in self._constants:  # pixels
            self.nodes.append(node)
            return
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        self._constant(node.output[0], self._value(list(node.input), axis))

    def _compute(self, node: Any) -> None:
        """An operator on integers, its output cut to its range."""
        from onnx import helper

        operator, places, output, bias = _FLOAT_OF[node.op_type]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if any(attributes.pop(name, 0) for name in _ONLY_OF_QUANTIZED):
            raise _NoFloat
        names = list(node.input)
        axis = 0 if operator == "Conv" or attributes.get("transB") else -1
        entries = [self._entry([names[place] for place in triple], axis) for triple in places]
        if bias is not None and len(names) > bias and names[bias]:
            scale = self._known(names[1]) * self._known(names[4])
            if operator == "Gemm" and attributes.get("alpha", 1.0) != 1.0:
                raise _NoFloat
            entries.append(self._constant(f"{node.output[0]}_bias", self._known(names[bias]) * scale.reshape(-1)))
        whole = f"{node.output[0]}_whole"
        self.nodes.append(helper.make_node(operator, entries, [whole], name=node.name, **attributes))
        pair = [names[place] if len(names) > place else "" for place in output]
        self._cut(whole, node.output[0], *pair)

    def _entry(self, triple: list[str], axis: int) -> str:
        """The name of an input in float; a constant's, and that of pixels, has to be written first.

        `axis`: of a constant's channels, where each has a scale.
        """
        from onnx import helper

        if triple[0] in self._in_float:
            return triple[0]
        name = f"{triple[0]}_float"
        if triple[0] in self._constants:
            return self._constant(name, self._value(triple, axis))
        if all(name not in node.output for node in self.nodes):
            self.nodes.append(helper.make_node("DequantizeLinear", [each for each in triple if each], [name]))
        return name

    def _value(self, parts: list[str], axis: int) -> NDArray[np.float32]:
        """A constant in float from its integers, scale and zero point."""
        stored, scale, *zero = (self._known(name) for name in parts if name)
        along = [-1 if place == axis % max(1, stored.ndim) else 1 for place in range(stored.ndim)]
        scale, *zero = (each.reshape(along) if each.size > 1 else each.reshape(()) for each in (scale, *zero))
        point = zero[0].astype(np.float32) if zero else np.float32(0)
        return np.asarray((stored.astype(np.float32) - point) * scale, np.float32)

    def _cut(self, value: str, output: str, scale: str, zero: str) -> None:
        """Keeps what lies in the range of the integers: a ReLU may have been folded into it."""
        from onnx import helper

        size, point = self._known(scale), self._known(zero) if zero else np.zeros((), np.uint8)
        if size.size > 1 or point.dtype.kind not in "iu":
            raise _NoFloat
        limits, step = np.iinfo(point.dtype), np.float32(size.reshape(()))
        ends = [
            self._constant(f"{output}_{name}", np.float32((float(limit) - float(point.reshape(()))) * step))
            for name, limit in (("lowest", limits.min), ("highest", limits.max))
        ]
        self.nodes.append(helper.make_node("Clip", [value, *ends], [output]))
        self._in_float.add(output)

    def _known(self, name: str) -> NDArray[Any]:
        """A constant's value; what is computed is none."""
        if name not in self._constants:
            raise _NoFloat
        found: NDArray[Any] = self._constants[name]
        return found

    def _constant(self, name: str, value: NDArray[np.float32] | np.float32) -> str:
        from onnx import numpy_helper

        if name not in {item.name for item in self._graph.initializer}:
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name


def _int8(tensors: list[Any]) -> Iterator[NDArray[np.int8]]:
    from onnx import TensorProto, numpy_helper

    yield from (numpy_helper.to_array(item) for item in tensors if item.data_type == TensorProto.INT8)


def _is_quantized(operator: str) -> bool:
    return operator.startswith((*_STATIC, *_OTHERS)) or any(part in operator for part in _PARTS)
