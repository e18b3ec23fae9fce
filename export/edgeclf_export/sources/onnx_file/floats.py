"""Networks of float16 or float64 in float32: every engine supports it, and the precision is chosen at export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeclf_export.graph.editing import graphs_of

_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, and of what makes tensors: EyeLike, RandomNormal


def other_floats(model: Any) -> tuple[str, ...]:
    """Which of "float16" and "double" the graph has anywhere."""
    import onnx

    numbers = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.DOUBLE: "double"}
    found: set[int] = set()
    for graph in graphs_of(model):
        found.update(tensor.data_type for tensor in _tensors(graph))
        found.update(value.type.tensor_type.elem_type for value in _values(graph))
        found.update(attribute.i for attribute in _type_attributes(graph))
    return tuple(name for number, name in numbers.items() if number in found)


def in_float32(model: Any) -> Any:
    """A copy whose float16 and float64 are float32: exact for weights of the one, rounded for the other's."""
    import onnx

    others = (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in graphs_of(copy):
        for tensor in _tensors(graph):
            if tensor.data_type in others:
                values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        for value in _values(graph):
            if value.type.tensor_type.elem_type in others:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        for attribute in _type_attributes(graph):
            if attribute.i in others:
                attribute.i = onnx.TensorProto.FLOAT
    return copy


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def _values(graph: Any) -> Iterator[Any]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type"):
            yield value


def _type_attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from (attribute for attribute in node.attribute if attribute.name in _TYPE_ATTRIBUTES)
