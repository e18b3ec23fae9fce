"""The precision of OpenVINO's products: from its runtime model, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf_runtime.backends.audit import Work, multiply_accumulates
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import HINTS, MODEL, WEIGHTS, compile_settings, openvino_core
from edgeclf_runtime.bundle.manifest import Manifest

_TYPES = {"u8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_PRODUCTS = ("FullyConnected", "MatMul")


def audited_work(folder: Path, manifest: Manifest) -> Iterator[Work]:
    """The convolutions and products for a batch of one, compiled as a device compiles it."""
    core = openvino_core()
    network = core.read_model(folder / MODEL, folder / WEIGHTS)
    network.reshape([1, *(size for size in manifest.inputs[0].shape[1:] if isinstance(size, int))])
    compiled = core.compile_model(network, "CPU", compile_settings(SessionOptions(), HINTS[manifest.compute_precision]))
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        layer, precision = str(info["layerType"].astype(str)), str(info["runtimePrecision"].astype(str))
        if layer in ("Convolution", "Deconvolution", *_PRODUCTS):
            entries = [list(entry.get_shape()) for entry in node.inputs()]
            macs = _macs(layer, entries, list(node.output(0).get_shape()))
            yield Work(node.get_friendly_name(), macs, _TYPES.get(precision, precision))


def _macs(layer: str, entries: list[list[int]], output: list[int]) -> int:
    if layer in _PRODUCTS:
        return multiply_accumulates(output, entries[0][-1:])
    weight = entries[1]
    kernel = weight[2:] if len(weight) == len(output) + 1 else weight[1:]  # with groups their number comes first
    return multiply_accumulates(entries[0] if layer == "Deconvolution" else output, kernel)
