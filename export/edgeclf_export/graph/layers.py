"""The ONNX graph as quantizers see it: convolutions and matrix products, their work, the kind of network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgeclf_export.graph.editing import constants_of, described, inferred
from edgeclf_runtime.backends.audit import multiply_accumulates

Family = Literal["convolutional", "transformer"]
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or matrix product: its node, what it reads and gives, its multiply-accumulates for one image.

    `weight` names its constant; None: both factors are computed, as in attention.
    """

    node: str
    operator: str
    entry: str
    weight: str | None
    output: str
    macs: int


def family(model: Any) -> Family:
    """ "transformer" where a softmax and two matrix products mean attention: only products are quantized then."""
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    attends = any(node.op_type == "Softmax" for node in model.graph.node) and len(products) > 1
    return "transformer" if attends else "convolutional"


def layers(model: Any) -> tuple[Layer, ...]:
    """The convolutions and matrix products of a ModelProto, in order."""
    return tuple(_layers(model))


def _layers(model: Any) -> Iterator[Layer]:
    graph = inferred(model).graph
    shapes = {
        name: [d.dim_value if d.HasField("dim_value") else 1 for d in each.shape.dim]
        for name, each in described(graph).items()
    }
    constants = {name: list(item.dims) for name, item in constants_of(graph).items()}
    for node in graph.node:
        if node.op_type not in WEIGHTED:
            continue
        weight = node.input[1] if node.input[1] in constants else None
        factor = constants.get(node.input[1]) or shapes.get(node.input[1], [])
        macs = _macs(node, shapes.get(node.input[0], []), factor, shapes.get(node.output[0], []))
        yield Layer(node.name, node.op_type, node.input[0], weight, node.output[0], macs)


def _macs(node: Any, entry: list[int], factor: list[int], output: list[int]) -> int:
    """Multiply-accumulates of the node for one image; 0 where shapes are not known."""
    if not output or not factor:
        return 0
    if node.op_type in ("Conv", "ConvTranspose"):
        return multiply_accumulates(output if node.op_type == "Conv" else entry, factor[1:])
    return multiply_accumulates(output, entry[-1:])
