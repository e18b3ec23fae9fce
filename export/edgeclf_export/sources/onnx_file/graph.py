"""An ONNX file's graph with the pixel contract in front: uint8 NHWC RGB pixels in, (N, classes) logits out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.onnx_graph import INPUT_NAME, OUTPUT_NAME, finish_graph
from edgeclf_export.sources.onnx_file.input import NetworkInput
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError, EdgeclfError, UsageError, one_line
from edgeclf_runtime.images.pixels import Pixels


@dataclass(frozen=True)
class ForeignGraph:
    """A network in float32 with one output: its logits, (N, classes) where it is `flat`, else with sides of 1.

    A `quantized` one has int8 parts, and its nodes stay as they are.
    """

    path: Path
    model: Any
    input: NetworkInput
    classes: int
    flat: bool
    quantized: bool = False


def make_onnx_graph(network: ForeignGraph, pixels: Pixels, normalization: Normalization, form: str) -> bytes:
    """The network behind cast, permutation and normalisation, its input and output under edgeclf's names."""
    import onnx
    from onnx import TensorProto, helper

    entry = network.input
    if form == "float-nchw" and (entry.layout == "NHWC" or entry.kind == "uint8"):
        takes = "uint8 pixels" if entry.kind == "uint8" else "(N, H, W, 3)"
        raise UsageError(f"this ONNX file takes {takes}; --input float-nchw needs one that takes float (N, 3, H, W)")
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    model.ir_version = max(model.ir_version, 8)  # before 4, weights had to be inputs as well
    graph, batch = model.graph, entry.batch or "batch"
    constants: list[Any] = []
    if form == "uint8-nhwc":
        nodes, constants = _entry_nodes(entry, normalization)
        value = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [batch, *pixels.crop_px, 3])
    else:
        nodes = [helper.make_node("Identity", [INPUT_NAME], [entry.name])]
        value = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [batch, 3, *pixels.crop_px])
    last, flatten = graph.output[0].name, {"op_type": "Flatten", "axis": 1}
    end = helper.make_node(
        **({"op_type": "Identity"} if network.flat else flatten), inputs=[last], outputs=[OUTPUT_NAME]
    )
    nodes = [*nodes, *graph.node, end]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    graph.input.append(value)
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [batch, network.classes]))
    try:
        return finish_graph(onnx.shape_inference.infer_shapes(model), slim=not network.quantized)
    except EdgeclfError:
        raise
    except Exception as error:  # onnx and onnxslim raise many kinds of errors
        raise DataError(f"{network.path}: its graph can't be prepared for engines ({one_line(error)})") from error


def _entry_nodes(entry: NetworkInput, normalization: Normalization) -> tuple[list[Any], list[Any]]:
    """uint8 NHWC RGB pixels -> the network's input. The cast comes first: TensorRT refuses a uint8 transpose."""
    from onnx import TensorProto, helper, numpy_helper

    channel_axis, shape = (1, (3, 1, 1)) if entry.layout == "NCHW" else (3, (3,))
    nodes: list[Any] = []
    constants: list[Any] = []

    def then(operator: str, name: str, *more_inputs: str, **attributes: Any) -> None:
        before = nodes[-1].output[0] if nodes else INPUT_NAME
        nodes.append(helper.make_node(operator, [before, *more_inputs], [name], **attributes))

    def constant(values: NDArray[np.generic], name: str) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    then("Cast", "edgeclf_float", to=TensorProto.FLOAT)
    if entry.layout == "NCHW":
        then("Transpose", "edgeclf_turned", perm=[0, 3, 1, 2])
    if entry.kind != "uint8":
        mean, std = np.array(normalization.mean), np.array(normalization.std)
        scale = constant((1 / (255 * std)).astype(np.float32).reshape(shape), "edgeclf_scale")
        shift = constant((-mean / std).astype(np.float32).reshape(shape), "edgeclf_shift")
        then("Mul", "edgeclf_scaled", scale)
        then("Add", "edgeclf_shifted", shift)
    if normalization.channels == "bgr":
        then("Gather", "edgeclf_bgr", constant(np.array([2, 1, 0], np.int64), "edgeclf_order"), axis=channel_axis)
    if entry.kind == "uint8":
        then("Cast", "edgeclf_uint8", to=TensorProto.UINT8)
    nodes[-1].output[0] = entry.name
    return nodes, constants
