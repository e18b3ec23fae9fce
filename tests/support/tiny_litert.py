"""The tiny linear classifier as a .tflite, written with LiteRT's own schema: no converter, no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8


def linear(weight: NDArray[np.float32], bias: NDArray[np.float32], batch: int = 1) -> bytes:
    """`uint8 NHWC -> CAST -> * 1/255 -> RESHAPE -> FULLY_CONNECTED -> logits`, fixed to `batch` images."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.buffers = 3, [_buffer(schema, None)]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, model.operatorCodes, model.subgraphs = [], [], [], [graph]
    types, kinds = schema.TensorType, schema.BuiltinOperator

    def tensor(name: str, shape: tuple[int, ...], kind: int, value: NDArray[Any] | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), kind, 0
        if value is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(_buffer(schema, value))
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(kind: int, inputs: list[int], output: int, options: tuple[int, Any] | None = None) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, kind, 1
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes), inputs, [output]
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options
        model.operatorCodes.append(code)
        graph.operators.append(made)

    width, classes = SIDE * SIDE * 3, len(bias)
    image = (batch, SIDE, SIDE, 3)
    pixels = tensor("pixels", image, types.UINT8)
    floats = tensor("floats", image, types.FLOAT32)
    scaled = tensor("scaled", image, types.FLOAT32)
    rows = tensor("rows", (batch, width), types.FLOAT32)
    logits = tensor("logits", (batch, classes), types.FLOAT32)
    scale = tensor("scale", (1,), types.FLOAT32, np.array([1 / 255], np.float32))
    shape = tensor("shape", (2,), types.INT32, np.array([batch, width], np.int32))
    weights = tensor("weight", (classes, width), types.FLOAT32, np.ascontiguousarray(weight.T))
    biases = tensor("bias", (classes,), types.FLOAT32, bias)
    operator(kinds.CAST, [pixels], floats)
    operator(kinds.MUL, [floats, scale], scaled, (schema.BuiltinOptions.MulOptions, schema.MulOptionsT()))
    operator(kinds.RESHAPE, [scaled, shape], rows)
    product = schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    operator(kinds.FULLY_CONNECTED, [rows, weights, biases], logits, product)
    graph.inputs, graph.outputs = [pixels], [logits]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _buffer(schema: Any, value: NDArray[Any] | None) -> Any:
    made = schema.BufferT()
    if value is not None:
        made.data = np.frombuffer(value.tobytes(), np.uint8)
    return made
