"""An ONNX file read without the onnx package: whether it keeps data elsewhere, and how its weights are stored.

Weights belong inside the one hashed file.

Reads the protocol-buffer wire format (https://protobuf.dev/programming-guides/encoding/) along the fields of onnx.proto
that can hold a tensor. ONNX Runtime 1.23 was seen to load external data from `..`, absolute paths and links.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgeclf_runtime.errors import BundleError

# message -> {field number: message inside}; "tensor" is the leaf that is examined
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_DIMS, _DATA_TYPE, _TENSOR_NAME = 1, 2, 8
_NODE_INPUT, _NODE_TYPE = 1, 4
_PRECISIONS = {1: "fp32", 2: "int8", 3: "int8", 10: "fp16", 11: "fp64", 16: "bf16"}  # TensorProto.DataType
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_DEEPEST = 64


def refuse_external_data(model: bytes, where: str) -> None:
    """Raises BundleError if a tensor of the ONNX file keeps its data elsewhere, or if the bytes are no ONNX file."""
    if not model:
        raise BundleError(f"{where}: empty (0 bytes)")
    if model[4:8] == b"ORTM":  # ONNX Runtime reads its own format from the same call, external data included
        raise BundleError(f"{where}: in ONNX Runtime's own format; ship the .onnx file")
    try:
        external = _has_external(memoryview(model), "model", 0)
    except (IndexError, ValueError) as error:
        raise BundleError(f"{where}: not an ONNX file, or a truncated one") from error
    if external:
        raise BundleError(
            f"{where}: keeps weights in another file (external data); save it as one file "
            "(onnx.save_model with save_as_external_data=False)"
        )


def _has_external(data: memoryview, message: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    inside = _FIELDS.get(message, {})
    for number, value in _fields(data):
        if message == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            return True
        if number in inside and isinstance(value, memoryview) and _has_external(value, inside[number], depth + 1):
            return True
    return False


def count_weights(model: bytes, *, quantized_later: bool = False) -> dict[str, int]:
    """Numbers in the graph's tensors of two dimensions or more, by precision: weights, without biases and scales.

    `quantized_later`: float weights before a QuantizeLinear count as int8, which an engine makes of them when it is
    built.
    """
    data = memoryview(model)
    later = {bytes(name) for name in _quantized(data)} if quantized_later else set()
    counts: dict[str, int] = {}
    for tensor in _parts(data, "model", "tensor"):
        dims, kind, name = _described(tensor)
        if len(dims) >= 2 and kind in _PRECISIONS:
            precision = "int8" if name in later else _PRECISIONS[kind]
            counts[precision] = counts.get(precision, 0) + math.prod(dims)
    return counts


def _quantized(data: memoryview) -> Iterator[memoryview]:
    """Names of what QuantizeLinear nodes quantize: their first inputs."""
    for node in _parts(data, "model", "node"):
        fields = list(_fields(node))
        inputs = [value for number, value in fields if number == _NODE_INPUT and isinstance(value, memoryview)]
        kinds = [value for number, value in fields if number == _NODE_TYPE and isinstance(value, memoryview)]
        if inputs and any(bytes(kind) == b"QuantizeLinear" for kind in kinds):
            yield inputs[0]


def _parts(data: memoryview, message: str, wanted: str, depth: int = 0) -> Iterator[memoryview]:
    """Every message of the kind `wanted` inside one of the kind `message`, those in the branches of nodes too."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if message == wanted:
        yield data
    inside = _FIELDS.get(message, {})
    for number, value in _fields(data) if inside else ():
        if number in inside and isinstance(value, memoryview):
            yield from _parts(value, inside[number], wanted, depth + 1)


def _described(tensor: memoryview) -> tuple[list[int], int, bytes]:
    """Dimensions, packed into one field or each in its own, the number of the data type, and the name."""
    dims: list[int] = []
    kind, name = 0, b""
    for number, value in _fields(tensor):
        if isinstance(value, int):
            kind = value if number == _DATA_TYPE else kind
            dims += [value] if number == _DIMS else []
        elif number == _TENSOR_NAME:
            name = bytes(value)
        elif number == _DIMS:
            position = 0
            while position < len(value):
                size, position = _varint(value, position)
                dims.append(size)
    return dims, kind, name


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) pairs; a value is an integer or the bytes of a length-delimited field."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if not 8 <= tag < 1 << 32:  # parsers drop the upper bits, and would see another field than this scan
            raise ValueError(f"tag {tag}")
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, position = _varint(data, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {kind}")
        if position + size > len(data):
            raise ValueError("truncated")
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
