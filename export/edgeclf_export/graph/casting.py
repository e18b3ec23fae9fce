"""A graph's floats in fp16 or bf16, for engines that compute in what the graph says: strongly typed TensorRT.

Input and output keep their types, and the normalisation its fp32: a mean and deviation rounded
to half precision would shift every image. ONNX Runtime's own converter is no help here: it knows no bf16, and rounds
between any two nodes that it leaves in fp32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of, described, inferred, replace_nodes
from edgeclf_runtime.errors import DataError, one_line

BF16_OPSET = 22  # the first in which convolutions and pooling may be bf16
_NORMALIZING = ("Cast", "Transpose", "Mul", "Add", "Sub", "Div", "Identity")
_LARGEST_CONSTANT = 3  # values of a normalising constant: one a channel
_SMALLEST_FP16, _LARGEST_FP16 = 5.97e-8, 65504.0
_NEVER_BF16 = ("GridSample", "Mish", "NonMaxSuppression", "RoiAlign")  # TensorRT has them in fp32 and fp16 only


def cast_graph(data: bytes, precision: str) -> bytes:
    """The ONNX file computing in `precision` ("fp16" or "bf16") between the normalisation and its output.

    Constants beyond fp16's range become its largest number, those too small for it the smallest one and not 0, which
    something may be divided by. An operator that ONNX does not define for the precision stays in fp32 between casts.
    Raises DataError where the graph can't be converted to the opset that knows bf16.
    """
    import onnx

    model = onnx.load_from_string(data)
    if precision == "bf16":
        try:
            model = onnx.version_converter.convert_version(model, BF16_OPSET)
        except RuntimeError as error:
            raise DataError(
                f"the graph can't be converted to opset {BF16_OPSET}, which bf16 needs ({one_line(error)}); "
                "choose --precision fp16"
            ) from error
        _split_hard_swish(model.graph)
    model = inferred(model)
    _Caster(model, precision).run()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def normalizing_nodes(graph: Any) -> list[Any]:
    """The nodes from the graph's input on that only turn, scale and shift pixels, in order."""
    small = {item.name for item in graph.initializer if int(np.prod(item.dims, dtype=np.int64)) <= _LARGEST_CONSTANT}
    found: list[Any] = []
    tensor = graph.input[0].name
    while True:
        readers = [node for node in graph.node if tensor in node.input and node.op_type != "Shape"]
        if len(readers) != 1 or readers[0].op_type not in _NORMALIZING:
            return found
        if any(name != tensor and name not in small for name in readers[0].input):
            return found
        found.append(readers[0])
        tensor = readers[0].output[0]


def _split_hard_swish(graph: Any) -> None:
    """HardSwish as what ONNX defines it to be: TensorRT takes its two parts in bf16, and not the whole."""
    from onnx import helper

    nodes = []
    for node in graph.node:
        if node.op_type == "HardSwish":
            x, gate = node.input[0], f"{node.output[0]}_gate"
            nodes.append(helper.make_node("HardSigmoid", [x], [gate], name=f"{node.name}_gate", alpha=1 / 6, beta=0.5))
            nodes.append(helper.make_node("Mul", [x, gate], list(node.output), name=node.name))
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)


class _Caster:
    """Walks once over a graph whose types were inferred, and changes it in place."""

    def __init__(self, model: Any, precision: str) -> None:
        from onnx import TensorProto

        self._graph = model.graph
        self._precision = precision
        self._float = TensorProto.FLOAT
        self._half = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
        self._type_name = "tensor(float16)" if precision == "fp16" else "tensor(bfloat16)"
        self._opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        constants, tensors = constants_of(self._graph), described(self._graph)
        self._constants = {name: item for name, item in constants.items() if item.data_type == self._float}
        self._floats = {name for name, each in tensors.items() if each.elem_type == self._float}
        self._halves: dict[str, str] = {}  # tensor in fp32 -> the same in half precision
        self._wholes: dict[str, str] = {}  # tensor in half precision -> the same in fp32
        self._nodes: list[Any] = []

    def run(self) -> None:
        normalizing = normalizing_nodes(self._graph)
        kept = {id(node) for node in normalizing}
        body = [node for node in self._graph.node if id(node) not in kept]
        entry = normalizing[-1].output[0] if normalizing else self._graph.input[0].name
        self._nodes += normalizing
        if entry in self._floats:
            self._halves[entry] = self._add_cast(entry, f"{entry}_{self._precision}", self._half)
        outputs = [item.name for item in self._graph.output if item.name in self._floats]
        for name in outputs:
            self._halves[name] = f"{name}_{self._precision}"
        for node in body:
            self._cast_node(node)
        for name in outputs:
            self._add_cast(self._halves[name], name, self._float)
        del self._graph.value_info[:]
        replace_nodes(self._graph, self._nodes)

    def _cast_node(self, node: Any) -> None:
        """The node in half precision as far as ONNX defines it so; else in fp32 between casts."""
        for attribute in node.attribute:
            self._cast_attribute(node, attribute)
        for i, name in enumerate(node.input):
            if name in self._constants:
                node.input[i] = self._half_constant(name) if self._takes(node, i, "inputs") else name
            elif name in self._floats:
                half = self._halves.get(name, name)
                node.input[i] = half if self._takes(node, i, "inputs") else self._whole(half)
        self._nodes.append(node)
        for i, name in enumerate(node.output):
            if name not in self._floats:
                continue
            half = self._halves.get(name, name)
            if self._takes(node, i, "outputs"):
                node.output[i] = half
            else:
                node.output[i] = f"{name}_fp32"
                self._wholes[half] = node.output[i]
                self._add_cast(node.output[i], half, self._half)

    def _takes(self, node: Any, index: int, side: str) -> bool:
        """Whether ONNX lets this input or output be in half precision."""
        import onnx

        if self._precision == "bf16" and node.op_type in _NEVER_BF16:
            return False
        schema = onnx.defs.get_schema(node.op_type, self._opset, node.domain)
        formal = getattr(schema, side)
        kind = formal[min(index, len(formal) - 1)].type_str  # the last one may stand for many
        allowed = next((list(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == kind), [kind])
        return self._type_name in allowed

    def _cast_attribute(self, node: Any, attribute: Any) -> None:
        from onnx import AttributeProto, numpy_helper

        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise DataError(
                f"{node.op_type} {node.name} holds a graph of its own, which can't be cast to {self._precision}; "
                "export fp32, or a model without branches and loops"
            )
        if attribute.name in ("to", "dtype") and attribute.i == self._float:
            attribute.i = self._half
        elif attribute.type == AttributeProto.TENSOR and attribute.t.data_type == self._float:
            attribute.t.CopyFrom(self._half_tensor("", numpy_helper.to_array(attribute.t)))
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.Clear()
            attribute.name, attribute.type = "value", AttributeProto.TENSOR
            attribute.t.CopyFrom(self._half_tensor("", np.asarray(value, dtype=np.float32)))

    def _half_constant(self, name: str) -> str:
        from onnx import numpy_helper

        if name not in self._halves:
            self._halves[name] = f"{name}_{self._precision}"
            values = numpy_helper.to_array(self._constants[name])
            self._graph.initializer.append(self._half_tensor(self._halves[name], values))
        return self._halves[name]

    def _half_tensor(self, name: str, values: NDArray[np.float32]) -> Any:
        from onnx import helper

        stored = _as_fp16(values) if self._precision == "fp16" else _as_bf16(values)
        return helper.make_tensor(name, self._half, values.shape, stored.tobytes(), raw=True)

    def _whole(self, half: str) -> str:
        if half not in self._wholes:
            self._wholes[half] = self._add_cast(half, f"{half}_fp32", self._float)
        return self._wholes[half]

    def _add_cast(self, tensor: str, result: str, to: int) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [tensor], [result], name=f"cast_{result}", to=to))
        return result


def _as_fp16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    sizes = np.abs(values)
    inside = np.clip(sizes, _SMALLEST_FP16, _LARGEST_FP16)
    kept = np.where(np.isfinite(values) & (values != 0), np.copysign(inside, values), values)
    return np.asarray(kept, dtype=np.float16)


def _as_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper half of each float, rounded to nearest, ties to even: bf16 as it lies in memory."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)
