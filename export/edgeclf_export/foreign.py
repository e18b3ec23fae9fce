"""A classifier from elsewhere, as an ONNX file with a normalised float input: it gets the pixel contract in front."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.hub import INPUT_NAME, NEWEST_OPSET, OUTPUT_NAME, finish_hub
from edgeclf_export.reasons import first_line
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.manifest import Normalization, Reference
from edgeclf_runtime.onnx_scan import refuse_external_data
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.writer import hash_file

_PREFIX = "original/"
_OLDEST_FOREIGN_OPSET = 13  # older files are converted: their operators differ from what the targets are tested with


def load_onnx_classifier(
    path: Path, *, labels: tuple[str, ...], pixels: Pixels, normalization: Normalization
) -> Exportable:
    """An ONNX classifier with one float32 input, (N, 3, H, W) or (N, H, W, 3), ready for export.

    A softmax or sigmoid at its end is cut off and recorded, since bundles give logits. Raises DataError for a file that
    is no such classifier.
    """
    network = _read_network(path, pixels)
    _check_answers(network, _answer(network, np.zeros((2, *pixels.crop_px, 3), np.uint8), normalization), len(labels))
    return Exportable(
        backbone=f"onnx/{path.name}",
        weights=f"file:{path.name} sha256:{hash_file(path)}",
        labels=labels,
        pixels=pixels,
        normalization=normalization,
        reference=Reference("onnx", f"{path.name} {hash_file(path)}"),
        answer=lambda batch: _answer(network, batch, normalization),
        make_onnx=lambda form, opset: _make_hub(network, pixels, normalization, form),
        batch=network.batch,
        scores=network.scores,
    )


@dataclass(frozen=True)
class _Network:
    """A parsed ONNX model whose one output is its logits. `batch` is the number that its input is fixed to, or None."""

    path: Path
    model: Any
    session: Any
    input: str
    layout: Literal["NCHW", "NHWC"]
    batch: int | None
    scores: Literal["softmax", "sigmoid"]


def _read_network(path: Path, pixels: Pixels) -> _Network:
    import onnx

    model = _parse(path)
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    if len(inputs) != 1:
        found = ", ".join(value.name.removeprefix(_PREFIX) for value in inputs)
        raise DataError(f"{path}: wanted one input, found {found or 'none'}")
    layout = _layout(inputs[0], pixels)
    if layout is None:
        height, width = pixels.crop_px
        kind = onnx.TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type).lower()
        found = ", ".join(str(size or "?") for size in _shape(inputs[0]))
        raise DataError(
            f"{path}: wanted float (N, 3, {height}, {width}) or (N, {height}, {width}, 3), found {kind} ({found}); "
            "give its side with --img-size"
        )
    logits, scores = _find_logits(model)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    return _Network(path, model, _open_session(model, path), inputs[0].name, layout, _shape(inputs[0])[0], scores)


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
    except (DecodeError, RuntimeError, onnx.checker.ValidationError) as error:
        raise DataError(f"{path}: no valid ONNX model ({first_line(error)})") from error
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), NEWEST_OPSET)
    try:
        if not _OLDEST_FOREIGN_OPSET <= opset <= NEWEST_OPSET:
            model = onnx.version_converter.convert_version(model, NEWEST_OPSET)
    except RuntimeError as error:
        raise DataError(
            f"{path}: is of opset {opset}, which can't be turned into {NEWEST_OPSET} ({first_line(error)}); export it "
            f"again with opset {_OLDEST_FOREIGN_OPSET} to {NEWEST_OPSET}"
        ) from error
    return onnx.compose.add_prefix(model, _PREFIX)  # so that no name of it is one of ours


def _open_session(model: Any, path: Path) -> Any:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what fails is raised
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        raise DataError(f"{path}: onnxruntime can't load it ({first_line(error)})") from error


def _shape(value: Any) -> tuple[int | None, ...]:
    """Dimensions of a graph input; None where one varies (some exporters write 0 or -1 for it)."""
    sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
    return tuple(size if size > 0 else None for size in sizes)


def _layout(value: Any, pixels: Pixels) -> Literal["NCHW", "NHWC"] | None:
    """Where the three channels are; None where the input is no float picture of this size."""
    import onnx

    shape, (height, width) = _shape(value), pixels.crop_px
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4:
        return None
    if all(found in (size, None) for found, size in zip(shape[1:], (3, height, width), strict=True)):
        return "NCHW"
    if all(found in (size, None) for found, size in zip(shape[1:], (height, width, 3), strict=True)):
        return "NHWC"
    return None


def _find_logits(model: Any) -> tuple[str, Literal["softmax", "sigmoid"]]:
    """The name of what goes into the softmax or sigmoid at the graph's end, or of the output where there is none."""
    makers = {name: node for node in model.graph.node for name in node.output}
    output = name = str(model.graph.output[0].name)
    while name in makers and makers[name].op_type in ("Identity", "Cast"):
        name = makers[name].input[0]
    if name in makers and makers[name].op_type == "Softmax":
        return str(makers[name].input[0]), "softmax"
    if name in makers and makers[name].op_type == "Sigmoid":
        return str(makers[name].input[0]), "sigmoid"
    return output, "softmax"


def _check_answers(network: _Network, answers: NDArray[np.float32], classes: int) -> None:
    if answers.shape != (2, classes):
        raise DataError(
            f"{network.path}: wanted logits (2, {classes}) for two pictures and {classes} labels, found {answers.shape}"
        )
    if answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise DataError(f"{network.path}: gives probabilities, wanted logits; export it without its last activation")


def _answer(network: _Network, batch: NDArray[np.uint8], normalization: Normalization) -> NDArray[np.float32]:
    """The file's own logits in ONNX Runtime, for pixels normalised here, apart from the graph and the runtime."""
    floats = ((batch / 255.0 - normalization.mean) / normalization.std).astype(np.float32)
    if network.layout == "NCHW":
        floats = np.ascontiguousarray(floats.transpose(0, 3, 1, 2))
    size = network.batch or 8
    padding = np.repeat(floats[-1:], -len(floats) % size if network.batch else 0, axis=0)
    padded = np.concatenate([floats, padding])
    try:
        chunks = [
            network.session.run(None, {network.input: padded[i : i + size]})[0] for i in range(0, len(padded), size)
        ]
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        what = f"a batch of {size}" if network.batch else "a batch of more than one picture, which its input promises"
        raise DataError(f"{network.path}: can't run {what} ({first_line(error)})") from error
    return np.concatenate(chunks)[: len(batch)]


def _make_hub(network: _Network, pixels: Pixels, normalization: Normalization, form: str) -> bytes:
    """The network behind cast, permutation and normalisation, its input and output under edgeclf's names."""
    import onnx
    from onnx import TensorProto, helper

    if form == "float-nchw" and network.layout == "NHWC":
        raise UsageError("this ONNX file takes (N, H, W, 3); --input float-nchw needs one that takes (N, 3, H, W)")
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    model.ir_version = max(model.ir_version, 8)  # before 4, weights had to be inputs as well
    graph, batch = model.graph, network.batch or "batch"
    constants: list[Any] = []
    if form == "uint8-nhwc":
        nodes, constants = _normalizing_nodes(network, normalization)
        entry = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [batch, *pixels.crop_px, 3])
    else:
        nodes = [helper.make_node("Identity", [INPUT_NAME], [network.input])]
        entry = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [batch, 3, *pixels.crop_px])
    nodes = [*nodes, *graph.node, helper.make_node("Identity", [graph.output[0].name], [OUTPUT_NAME])]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    graph.input.append(entry)
    graph.output.append(helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, None))
    return finish_hub(onnx.shape_inference.infer_shapes(model))


def _normalizing_nodes(network: _Network, normalization: Normalization) -> tuple[list[Any], list[Any]]:
    """uint8 NHWC pixels -> the network's float input. The cast comes first: TensorRT refuses a uint8 transpose."""
    from onnx import TensorProto, helper, numpy_helper

    shape = (3, 1, 1) if network.layout == "NCHW" else (3,)
    mean, std = np.array(normalization.mean), np.array(normalization.std)
    constants = [
        numpy_helper.from_array((1 / (255 * std)).astype(np.float32).reshape(shape), "edgeclf_scale"),
        numpy_helper.from_array((-mean / std).astype(np.float32).reshape(shape), "edgeclf_shift"),
    ]
    nodes = [helper.make_node("Cast", [INPUT_NAME], ["edgeclf_float"], to=TensorProto.FLOAT)]
    if network.layout == "NCHW":
        nodes.append(helper.make_node("Transpose", ["edgeclf_float"], ["edgeclf_turned"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "edgeclf_scale"], ["edgeclf_scaled"]))
    nodes.append(helper.make_node("Add", ["edgeclf_scaled", "edgeclf_shift"], [network.input]))
    return nodes, constants
