"""Reading and changing an ONNX graph: which node makes a tensor, what is constant, what is not used.

onnx-ir has passes for some of it, on a representation of its own: there and back costs a copy of all weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

_NUMBERS = {  # how a Constant node may hold numbers, beside a tensor
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def constants_of(graph: Any) -> dict[str, Any]:
    """Name -> TensorProto of each constant."""
    return {item.name: item for item in graph.initializer}


def lift_constants(graph: Any) -> None:
    """Makes initializers of Constant nodes, and of Identity nodes of constants, which other exporters write."""
    from onnx import helper, numpy_helper

    constants, outputs, kept = constants_of(graph), {item.name for item in graph.output}, []
    for node in graph.node:
        found = None
        if node.op_type == "Constant" and len(node.attribute) == 1:
            attribute = node.attribute[0]
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value":
                found = value
            elif attribute.name in _NUMBERS:
                found = numpy_helper.from_array(np.array(value, _NUMBERS[attribute.name]))
        elif node.op_type == "Identity":
            found = constants.get(node.input[0])
        if found is None or node.output[0] in outputs:
            kept.append(node)
            continue
        lifted = graph.initializer.add()
        lifted.CopyFrom(found)
        lifted.name = node.output[0]
        constants[lifted.name] = lifted
    del graph.node[:]
    graph.node.extend(kept)


def makers_of(graph: Any) -> dict[str, Any]:
    """Tensor -> the node that makes it."""
    return {name: node for node in graph.node for name in node.output}


def inferred(model: Any) -> Any:
    """The model with the types and shapes of all tensors, as far as they follow from its inputs."""
    import onnx

    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def described(graph: Any) -> dict[str, Any]:
    """Tensor -> the TypeProto.Tensor with its type and shape, of inputs, outputs and what was inferred."""
    return {item.name: item.type.tensor_type for item in (*graph.value_info, *graph.input, *graph.output)}


def graphs_of(model: Any) -> Iterator[Any]:
    """The main graph, and the graphs inside its nodes."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting += _inside(node)


def inputs_of(node: Any) -> Iterator[str]:
    """Names that a node takes, and those that the graphs inside it take from outside."""
    yield from node.input
    for graph in _inside(node):
        for inner in graph.node:
            yield from inputs_of(inner)
        yield from (value.name for value in graph.output)


def _inside(node: Any) -> list[Any]:
    found: list[Any] = []
    for attribute in node.attribute:
        found += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return found


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Gives the graph other nodes, in this order, and removes constants that none of them reads."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in inputs_of(node)} | {item.name for item in graph.output}
    constants = [item for item in graph.initializer if item.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def cut_to(model: Any, tensors: Sequence[str], elem_type: int) -> Any:
    """A copy whose outputs are these tensors, with only the nodes that they need."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    needed, kept = set(tensors), []
    for node in reversed(copy.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(inputs_of(node))
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, elem_type, None) for name in tensors)
    replace_nodes(copy.graph, kept[::-1])
    return copy
