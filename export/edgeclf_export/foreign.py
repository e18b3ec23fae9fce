"""A classifier from elsewhere, as an ONNX file with a normalised float input: it gets the pixel contract in front."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.hub import INPUT_NAME, NEWEST_OPSET, OUTPUT_NAME, finish_hub
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.manifest import Normalization, Reference
from edgeclf_runtime.onnx_scan import refuse_external_data
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.verify import to_input
from edgeclf_runtime.writer import hash_file

_PREFIX = "original/"
_OLDEST_FOREIGN_OPSET = 13  # older files are converted: their operators differ from what the targets are tested with


def load_onnx_classifier(
    path: Path, *, labels: tuple[str, ...], pixels: Pixels, normalization: Normalization
) -> Exportable:
    """An ONNX classifier with one float32 input, (N, 3, H, W) or (N, H, W, 3), ready for export.

    A softmax at its end is cut off, since bundles give logits. Raises DataError for a file that is no such classifier.
    """
    network = _read_network(path, pixels, len(labels))
    return Exportable(
        backbone=f"onnx/{path.name}",
        weights=f"file:{path.name} sha256:{hash_file(path)}",
        labels=labels,
        pixels=pixels,
        normalization=normalization,
        reference=Reference("onnx", f"{path.name} {hash_file(path)}"),
        answer=lambda batch: _answer(network, batch, normalization),
        make_onnx=lambda form, opset: _make_hub(network, pixels, normalization, form),
    )


@dataclass(frozen=True)
class _Network:
    """A parsed ONNX model, cut at its logits. `batch` is the number that its input was fixed to, or None."""

    model: Any
    input: str
    layout: str
    batch: int | None
    logits: str


def _read_network(path: Path, pixels: Pixels, classes: int) -> _Network:
    model = _parse(path)
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    if len(inputs) != 1:
        raise DataError(f"{path}: wanted one input, found {len(inputs)}")
    shape = _shape(inputs[0])
    layout = _layout(inputs[0], pixels)
    if layout is None:
        height, width = pixels.crop_px
        raise DataError(
            f"{path}: wanted a float32 input (N, 3, {height}, {width}) or (N, {height}, {width}, 3), found "
            f"{inputs[0].name} {shape}; say its size with --img-size"
        )
    logits = _logits_name(model)
    known = {value.name: _shape(value) for value in [*model.graph.value_info, *model.graph.output]}
    found = known.get(logits, (None, classes))
    if len(found) != 2 or found[1] not in (classes, None):
        raise DataError(f"{path}: wanted an output (N, {classes}) for {classes} labels, found {logits} {found}")
    return _Network(_cut(model, logits), inputs[0].name, layout, shape[0], logits)


def _parse(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    refuse_external_data(data, str(path))
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), NEWEST_OPSET)
        if not _OLDEST_FOREIGN_OPSET <= opset <= NEWEST_OPSET:
            model = onnx.version_converter.convert_version(model, NEWEST_OPSET)
        return onnx.shape_inference.infer_shapes(model)
    except (DecodeError, RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise DataError(f"{path}: no valid ONNX model ({str(error).splitlines()[0]:.150})") from error


def _shape(value: Any) -> tuple[int | None, ...]:
    """Dimensions of a graph input or output; None where one varies."""
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _layout(value: Any, pixels: Pixels) -> str | None:
    """NCHW or NHWC, by where the three channels are; None where the input is no float picture of this size."""
    import onnx

    shape = _shape(value)
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4:
        return None
    for layout, wanted in (("NCHW", (3, *pixels.crop_px)), ("NHWC", (*pixels.crop_px, 3))):
        if all(found in (size, None) for found, size in zip(shape[1:], wanted, strict=True)):
            return layout
    return None


def _logits_name(model: Any) -> str:
    """The output, or what goes into the softmax that makes it."""
    output = model.graph.output[0].name
    maker = next((node for node in model.graph.node if output in node.output), None)
    return str(maker.input[0] if maker is not None and maker.op_type == "Softmax" else output)


def _cut(model: Any, output: str) -> Any:
    """A copy whose only output is `output`, without the nodes that only made others."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    needed, kept = {output}, []
    for node in reversed(copy.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del copy.graph.node[:], copy.graph.output[:]
    copy.graph.node.extend(reversed(kept))
    copy.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    return copy


def _answer(network: _Network, batch: NDArray[np.uint8], normalization: Normalization) -> NDArray[np.float32]:
    """The file's own logits for pixels that numpy normalised."""
    floats = to_input(batch, replace(normalization, applied_by="caller"))
    if network.layout == "NHWC":
        floats = np.ascontiguousarray(floats.transpose(0, 2, 3, 1))
    session = import_onnxruntime().InferenceSession(
        network.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    size = network.batch or 1
    padded = np.concatenate([floats, np.repeat(floats[-1:], -len(floats) % size, axis=0)])
    chunks = [session.run(None, {network.input: padded[i : i + size]})[0] for i in range(0, len(padded), size)]
    return np.concatenate(chunks)[: len(batch)]


def _make_hub(network: _Network, pixels: Pixels, normalization: Normalization, form: str) -> bytes:
    """The network behind cast, permutation and normalisation, its input and output under edgeclf's names."""
    import onnx
    from onnx import TensorProto, helper

    if form == "float-nchw" and network.layout == "NHWC":
        raise UsageError("this ONNX file takes (N, H, W, 3); --input float-nchw needs one that takes (N, 3, H, W)")
    # a prefix on all of the file's names: its input may be called "images" too, or one of its tensors "logits"
    model = onnx.compose.add_prefix(network.model, _PREFIX)
    first, last = _PREFIX + network.input, _PREFIX + network.logits
    batch = network.batch or "batch"
    if form == "uint8-nhwc":
        nodes, constants = _normalizing_nodes(first, network.layout, normalization)
        entry = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [batch, *pixels.crop_px, 3])
    else:
        nodes, constants = [helper.make_node("Identity", [INPUT_NAME], [first])], []
        entry = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [batch, 3, *pixels.crop_px])
    nodes = [*nodes, *model.graph.node, helper.make_node("Identity", [last], [OUTPUT_NAME])]
    initialized = [value for value in model.graph.input if value.name != first]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    model.graph.input.extend([entry, *initialized])
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, None))
    return finish_hub(onnx.shape_inference.infer_shapes(model))


def _normalizing_nodes(first: str, layout: str, normalization: Normalization) -> tuple[list[Any], list[Any]]:
    """uint8 NHWC pixels -> the float tensor `first`. The cast comes first: TensorRT refuses a uint8 transpose."""
    from onnx import TensorProto, helper, numpy_helper

    shape = (3, 1, 1) if layout == "NCHW" else (3,)
    mean, std = np.array(normalization.mean), np.array(normalization.std)
    constants = [
        numpy_helper.from_array((1 / (255 * std)).astype(np.float32).reshape(shape), "edgeclf_scale"),
        numpy_helper.from_array((-mean / std).astype(np.float32).reshape(shape), "edgeclf_shift"),
    ]
    nodes = [helper.make_node("Cast", [INPUT_NAME], ["edgeclf_float"], to=TensorProto.FLOAT)]
    if layout == "NCHW":
        nodes.append(helper.make_node("Transpose", ["edgeclf_float"], ["edgeclf_turned"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "edgeclf_scale"], ["edgeclf_scaled"]))
    nodes.append(helper.make_node("Add", ["edgeclf_scaled", "edgeclf_shift"], [first]))
    return nodes, constants
