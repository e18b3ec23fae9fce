"""An ONNX graph cut into consecutive pieces, each a model of its own: run in turn, they are the whole graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of, inputs_of


@dataclass(frozen=True)
class Piece:
    """Consecutive nodes of a graph, and copies of those before them that compute constants, such as weights.

    Attributes
    ----------
    inputs, outputs
        Tensors that they take from before, and that others need after; the last node's output is among these.
    needed_later
        All tensors, of this piece and those before it, that later nodes or the graph's outputs need.
    """

    whole: Any
    nodes: tuple[Any, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    needed_later: frozenset[str]

    def model(self, values: Mapping[str, NDArray[np.generic]]) -> bytes:
        """The piece as a model; `values` of its inputs tell their types."""
        from onnx import helper

        constants = constants_of(self.whole.graph)
        read = {name for node in self.nodes for name in inputs_of(node)}
        entries = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), ["batch", *[None] * (value.ndim - 1)]
            )
            for name, value in values.items()
        ]
        graph = helper.make_graph(
            self.nodes,
            "piece",
            entries,
            [helper.make_empty_tensor_value_info(name) for name in self.outputs],  # ONNX Runtime infers their types
            [constants[name] for name in sorted(read & constants.keys())],
        )
        model = helper.make_model(graph, opset_imports=self.whole.opset_import, ir_version=self.whole.ir_version)
        return bytes(model.SerializeToString())


def pieces(model: Any, ends: Collection[str]) -> Iterator[Piece]:
    """The sorted graph in pieces, each up to and with the next node of `ends`; what comes after them is left out."""
    fixed, nodes = _split(model)
    read_later: list[frozenset[str]] = []
    read = {item.name for item in model.graph.output}
    for node in reversed(nodes):
        read_later.append(frozenset(read))
        read.update(inputs_of(node))
    read_later.reverse()
    start = 0
    for place, node in enumerate(nodes):
        if node.name not in ends:
            continue
        part = nodes[start : place + 1]
        made = {name for each in part for name in each.output if name}
        taken = {name for each in part for name in inputs_of(each) if name} - made
        constant = _needed(fixed, taken)
        known = constants_of(model.graph).keys() | {name for each in constant for name in each.output}
        outputs = (made & read_later[place]) | {node.output[0]}
        yield Piece(model, (*constant, *part), tuple(sorted(taken - known)), tuple(sorted(outputs)), read_later[place])
        start = place + 1


def _split(model: Any) -> tuple[list[Any], list[Any]]:
    """The nodes that compute constants, and the others, in order."""
    known = {*constants_of(model.graph), ""}
    fixed, others = [], []
    for node in model.graph.node:
        if all(name in known for name in inputs_of(node)):
            known.update(node.output)
            fixed.append(node)
        else:
            others.append(node)
    return fixed, others


def _needed(fixed: list[Any], tensors: Collection[str]) -> list[Any]:
    """Those of the nodes that these tensors come from, in order."""
    wanted, found = set(tensors), []
    for node in reversed(fixed):
        if wanted.intersection(node.output):
            wanted.update(inputs_of(node))
            found.append(node)
    return found[::-1]
