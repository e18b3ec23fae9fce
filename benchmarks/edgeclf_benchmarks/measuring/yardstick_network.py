"""The yardstick's network: a few convolutions with fixed weights, as ONNX bytes, as OpenVINO's IR and in torch.

The ONNX bytes are written here, field by field (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): a device that
benches needs neither the onnx package nor torch. A change of any number here needs a new `VERSION`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends import ort, ov
from edgeclf_runtime.errors import BackendError

VERSION = 1
INPUT, OUTPUT = "input", "features"
CHANNELS, SIDE = 64, 28
_BLOCKS = 4
_LAYERS = (("dense", 3, 1), ("depthwise", 3, CHANNELS), ("pointwise", 1, 1))  # of a block: weights, kernel, groups
_FLOAT, _INT, _INTS = 1, 2, 7  # TensorProto.FLOAT, AttributeProto.INT and INTS


@cache
def network_input() -> NDArray[np.float32]:
    """(1, CHANNELS, SIDE, SIDE) float32, the same on every machine."""
    return _wave(1, CHANNELS, SIDE, SIDE)


@cache
def weights() -> dict[str, NDArray[np.float32]]:
    """Of each kind of layer, shared by all blocks. They average, so that activations neither vanish nor grow."""
    shapes = {name: (CHANNELS, CHANNELS // groups, kernel, kernel) for name, kernel, groups in _LAYERS}
    return {name: np.divide(_wave(*shape), np.float32(np.prod(shape[1:]))) for name, shape in shapes.items()}


def _wave(*shape: int) -> NDArray[np.float32]:
    """Positive numbers around 1. No random generator: numpy doesn't promise that its draws stay the same."""
    count = int(np.prod(shape))
    wave: NDArray[np.float32] = (1 + np.sin(1.7 * np.arange(1, count + 1))).astype(np.float32).reshape(shape)
    return wave


@cache
def onnx_bytes() -> bytes:
    """The network as an ONNX model: (batch, CHANNELS, SIDE, SIDE) float32 -> (batch, CHANNELS) float32."""
    nodes, last = [], INPUT
    for block in range(_BLOCKS):
        for name, kernel, groups in _LAYERS:
            made = f"{name}{block}"
            nodes.append(_node("Conv", [last, name], made, *_conv_attributes(kernel, groups)))
            nodes.append(_node("Relu", [made], f"{made}.relu"))
            last = f"{made}.relu"
    nodes += [_node("GlobalAveragePool", [last], "pooled"), _node("Flatten", ["pooled"], OUTPUT)]
    graph = [
        *(_field(1, node) for node in nodes),
        _field(2, "yardstick"),
        *(_field(5, _tensor(name, values)) for name, values in weights().items()),
        _field(11, _value(INPUT, (CHANNELS, SIDE, SIDE))),
        _field(12, _value(OUTPUT, (CHANNELS,))),
    ]
    return _field(1, 8) + _field(7, b"".join(graph)) + _field(8, _field(2, 13))  # IR version 8, opset 13


def _node(kind: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    names = b"".join(_field(1, each) for each in inputs)
    return names + _field(2, output) + _field(3, output) + _field(4, kind) + b"".join(_field(5, a) for a in attributes)


def _conv_attributes(kernel: int, groups: int) -> Iterator[bytes]:
    for name, values in (("kernel_shape", [kernel] * 2), ("pads", [kernel // 2] * 4)):
        yield _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, _INTS)
    yield _field(1, "group") + _field(3, groups) + _field(20, _INT)


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    shape = b"".join(_field(1, size) for size in values.shape)
    return shape + _field(2, _FLOAT) + _field(8, name) + _field(9, values.astype("<f4").tobytes())


def _value(name: str, item: Sequence[int]) -> bytes:
    sizes = _field(1, _field(2, "batch")) + b"".join(_field(1, _field(1, size)) for size in item)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, sizes)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message (https://protobuf.dev/programming-guides/encoding): a varint, or bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


@cache
def openvino_files() -> dict[str, bytes]:
    """The network as OpenVINO's IR. Raises BackendError where OpenVINO is missing, or reads no ONNX."""
    openvino = ov.import_openvino()
    try:
        network = ov.openvino_core().read_model(onnx_bytes())
        with tempfile.TemporaryDirectory() as folder:
            openvino.save_model(network, Path(folder, ov.MODEL), compress_to_fp16=False)
            return {name: Path(folder, name).read_bytes() for name in (ov.MODEL, ov.WEIGHTS)}
    except RuntimeError as error:
        raise BackendError(f"OpenVINO can't read the yardstick's network ({error})") from error


# by engine, the files of a bundle that holds the network
FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    ort.BACKEND.name: lambda: {ort.MODEL: onnx_bytes()},
    ov.BACKEND.name: openvino_files,
}


def torch_network(device: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The network in eager torch on `device`, from array to array."""
    import torch
    from torch.nn import functional

    tensors = {name: torch.from_numpy(values).to(device) for name, values in weights().items()}

    def infer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: Any = torch.from_numpy(batch).to(device)
            for _ in range(_BLOCKS):
                for name, kernel, groups in _LAYERS:
                    found = functional.relu(functional.conv2d(found, tensors[name], padding=kernel // 2, groups=groups))
            return np.asarray(found.mean(dim=(2, 3)).cpu().numpy())

    return infer
