"""What a LiteRT interpreter reports of its graph: products and their types, stored weights, what the delegate took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.audit import Work, audit, multiply_accumulates

_TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8", "uint8": "int8", "int4": "int4"}
_DELEGATE = "DELEGATE"
# Where the operator has its input and its weights.
_PRODUCTS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}


@dataclass(frozen=True, slots=True)
class Pieces:
    """How the interpreter runs a graph: in how many pieces the delegate took it, and which operators it left."""

    delegated: int
    left: tuple[str, ...]

    @property
    def count(self) -> int:
        """Changes of hands, each of which may copy tensors and start threads anew."""
        return self.delegated + len(self.left)

    def __str__(self) -> str:
        names = f", beside it {' '.join(sorted(set(self.left)))}" if self.left else ""
        return f"XNNPACK, in {self.delegated} of {self.count} steps{names}"


def products(interpreter: Any) -> Iterator[Work]:
    """The convolutions and matrix products, with the type of the activations that each multiplies."""
    tensors = _tensors(interpreter)
    for operator in interpreter._get_ops_details():
        name = operator["op_name"]
        if name not in _PRODUCTS:
            continue
        entry, weight = (tensors[operator["inputs"][place]] for place in _PRODUCTS[name])
        output = tensors[operator["outputs"][0]]
        yield Work(output["name"], _macs(name, *(_sizes(each) for each in (entry, weight, output))), _type(entry))


def computed_precision(interpreter: Any) -> str:
    """What most of the products are computed in: "int8", or "fp32" for weights of 16 bits, too.

    XNNPACK computes floats in fp32 unless a model's metadata allows fp16 (reduced_precision_support), and no
    bundle's does.
    """
    found = audit(products(interpreter))
    return "int8" if found.share("int8") > found.share("fp32") else "fp32"


def pieces(interpreter: Any) -> Pieces:
    """What runs, found backwards from the output: of two producers of a tensor the delegate is the one that runs."""
    operators = interpreter._get_ops_details()
    producers: dict[int, Any] = {}
    for operator in operators:  # delegates come last and replace the producers of what they took
        producers |= dict.fromkeys(map(int, operator["outputs"]), operator)
    met: dict[int, str] = {}
    waiting = [int(output["index"]) for output in interpreter.get_output_details()]
    while waiting:
        operator = producers.get(waiting.pop())
        if operator is not None and operator["index"] not in met:
            met[operator["index"]] = operator["op_name"]
            waiting += map(int, operator["inputs"])
    left = tuple(name for name in met.values() if name != _DELEGATE)
    return Pieces(len(met) - len(left), left)


def count_stored(interpreter: Any) -> dict[str, int]:
    """How many weights the model stores in each precision: constants of two dimensions or more."""
    made = {int(index) for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    made |= {int(entry["index"]) for entry in interpreter.get_input_details()}
    counts: dict[str, int] = {}
    for tensor in interpreter.get_tensor_details():
        if tensor["index"] not in made and len(tensor["shape"]) >= 2 and (precision := _TYPES.get(_name(tensor))):
            counts[precision] = counts.get(precision, 0) + math.prod(_sizes(tensor))
    return counts


def computed_tensors(interpreter: Any) -> Iterator[tuple[int, str]]:
    """(index, name) of each float tensor that an operator gives."""
    tensors = _tensors(interpreter)
    for index in sorted({int(i) for operator in interpreter._get_ops_details() for i in operator["outputs"]}):
        if _name(tensors[index]) == "float32":
            yield index, tensors[index]["name"]


def constants(interpreter: Any) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name of the output, weights) of each product with float weights, of a model that no delegate took."""
    tensors = _tensors(interpreter)
    made = {int(index) for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] not in _PRODUCTS:
            continue
        weight = int(operator["inputs"][_PRODUCTS[operator["op_name"]][1]])
        if weight not in made and _name(tensors[weight]) == "float32":
            yield tensors[operator["outputs"][0]]["name"], interpreter.get_tensor(weight)


def _macs(name: str, entry: list[int], weight: list[int], output: list[int]) -> int:
    """Weights of convolutions are (outputs, height, width, inputs), depthwise (1, height, width, channels)."""
    if name == "CONV_2D":
        return multiply_accumulates(output, weight[1:])
    if name == "DEPTHWISE_CONV_2D":
        return multiply_accumulates(output, weight[1:3])
    if name == "TRANSPOSE_CONV":
        return multiply_accumulates(entry, weight[:3])
    return multiply_accumulates(output, entry[-1:])


def _tensors(interpreter: Any) -> dict[int, Any]:
    return {int(tensor["index"]): tensor for tensor in interpreter.get_tensor_details()}


def _sizes(tensor: Any) -> list[int]:
    return [int(size) for size in tensor["shape"]]


def _name(tensor: Any) -> str:
    return str(tensor["dtype"].__name__)


def _type(tensor: Any) -> str:
    return _TYPES.get(_name(tensor), _name(tensor))
