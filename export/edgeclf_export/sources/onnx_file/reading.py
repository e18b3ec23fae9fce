"""An ONNX file, parsed: of one opset, without local functions; what can't become a bundle is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeclf_export.graph.editing import graphs_of, inputs_of
from edgeclf_export.graph.onnx_graph import NEWEST_OPSET
from edgeclf_export.sources.onnx_file.quantized import in_words, is_static, quantized_operators
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import DataError, one_line

PREFIX = "original/"  # on every name, so that none is one of ours
_OLDEST_FOREIGN_OPSET = 13  # older files are converted: their operators differ from what the targets are tested with
_ONNX = ("", "ai.onnx")  # the domain of its own operators
_OF_ONE_PROCESSOR = "com.microsoft.nchwc"  # layouts that ONNX Runtime chose for the machine that wrote the file


def own_name(name: str) -> str:
    """A tensor's name as it is in the file."""
    return name.removeprefix(PREFIX)


def parse_foreign(path: Path) -> Any:
    """The ONNX ModelProto in `path`, its names prefixed. Raises DataError for a file that can't become a bundle."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    refuse_external_data(data, str(path))
    try:
        model = onnx.load_from_string(data)
        _refuse_newer(model, path)
        _sort_nodes(model.graph)
        model = _with_shapes(model, path)
        onnx.checker.check_model(model)
    except (DecodeError, RuntimeError, onnx.checker.ValidationError) as error:
        raise DataError(f"{path}: no valid ONNX model ({one_line(error)})") from error
    _refuse_measured_ranges(model, path)
    _refuse_other_machines(model, path)
    return onnx.compose.add_prefix(_converted(model, path), PREFIX)


def is_quantized_file(path: Path) -> bool:
    """Whether an ONNX file is quantized already. Raises DataError for one that can't become a bundle."""
    return bool(quantized_operators(parse_foreign(path)))


def _refuse_newer(model: Any, path: Path) -> None:
    import onnx

    known = onnx.defs.onnx_opset_version()
    opset = max((entry.version for entry in model.opset_import if entry.domain in _ONNX), default=0)
    if opset > known or model.ir_version > onnx.IR_VERSION:
        raise DataError(
            f"{path}: is of opset {opset} (IR version {model.ir_version}), newer than the onnx package here supports "
            f"({onnx.__version__}: {known} and {onnx.IR_VERSION}); export it again with opset {_OLDEST_FOREIGN_OPSET} "
            f"to {NEWEST_OPSET}"
        )


def _with_shapes(model: Any, path: Path) -> Any:
    """The model with the shapes of its outputs inferred where it states none: the checker needs them."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    shapeless = [value for value in (*model.graph.input, *model.graph.output) if _lacks_shape(value)]
    if missing := [value.name for value in model.graph.input if value in shapeless and value.name not in weights]:
        raise DataError(f"{path}: does not state the shape of its input {missing[0]}; export it again with its shape")
    return onnx.shape_inference.infer_shapes(model) if shapeless else model


def _lacks_shape(value: Any) -> bool:
    return value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")


def _sort_nodes(graph: Any) -> None:
    """Sorts each node behind those that it needs: ONNX Runtime's float16 converter leaves them unsorted."""
    made = {name for node in graph.node for name in node.output if name}
    known: set[str] = set()
    waiting, ready = list(graph.node), []
    while waiting:
        late = []
        for node in waiting:
            if all(name in known or name not in made for name in inputs_of(node)):
                ready.append(node)
                known.update(node.output)
            else:
                late.append(node)
        if len(late) == len(waiting):
            return  # a cycle: the checker reports it
        waiting = late
    if [id(node) for node in ready] != [id(node) for node in graph.node]:
        del graph.node[:]
        graph.node.extend(ready)


def _converted(model: Any, path: Path) -> Any:
    import onnx
    from onnx.inliner import inline_local_functions

    opset = next((entry.version for entry in model.opset_import if entry.domain in _ONNX), NEWEST_OPSET)
    try:
        if model.functions:
            model = inline_local_functions(model)
        if not _OLDEST_FOREIGN_OPSET <= opset <= NEWEST_OPSET:
            model = onnx.version_converter.convert_version(model, NEWEST_OPSET)
    except Exception as error:  # onnx's ConvertError is a bare Exception
        raise DataError(
            f"{path}: is of opset {opset}, which can't be converted to {NEWEST_OPSET} ({one_line(error)}); export it "
            f"again with opset {_OLDEST_FOREIGN_OPSET} to {NEWEST_OPSET}"
        ) from error
    return model


def _nodes_of(model: Any) -> Iterator[Any]:
    for graph in graphs_of(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _refuse_measured_ranges(model: Any, path: Path) -> None:
    operators = quantized_operators(model)
    if operators and not is_static(operators):
        raise DataError(
            f"{path}: is quantized already ({in_words(operators)}), with ranges that are measured for each image or "
            "with weights alone: give the file that it was quantized from, with --precision int8 to quantize here"
        )


def _refuse_other_machines(model: Any, path: Path) -> None:
    if odd := sorted({node.op_type for node in _nodes_of(model) if node.domain == _OF_ONE_PROCESSOR}):
        raise DataError(
            f"{path}: was optimised by ONNX Runtime for the processor that wrote it ({', '.join(odd[:3])} of "
            f"{_OF_ONE_PROCESSOR}); give the file from before that, every device optimises it for itself"
        )
