"""What TensorRT would refuse, misread or run slowly in an ONNX graph: found without it, each with an alternative.

Sources: docs/operators.md of onnx-tensorrt 10.1, and "Explicit quantization" in the developer guide of TensorRT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgeclf_export.graph.casting import BF16_OPSET
from edgeclf_export.graph.editing import constants_of, described, inferred
from edgeclf_export.graph.onnx_graph import NEWEST_OPSET
from edgeclf_export.targets.tensorrt.qdq_rules import lint_quantization
from edgeclf_runtime.backends.tensorrt.parser_errors import ALTERNATIVES
from edgeclf_runtime.errors import BackendError

_OLDEST_OPSET = 9

_VALUES_DECIDE = ("NonMaxSuppression", "NonZero")
_BRANCHING = ("If", "Loop", "Scan")


@dataclass(frozen=True, slots=True)
class Finding:
    """A node that TensorRT refuses or misreads (error), or runs slower or less exactly (warning), and what to do."""

    level: Literal["error", "warning"]
    operator: str
    node: str
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.operator, self.node)))}: {self.what}; {self.instead}"


def check_graph(data: bytes) -> tuple[Finding, ...]:
    """Warnings about the ONNX file. Raises BackendError with its errors, the first three in full."""
    found = lint(data)
    errors = [finding for finding in found if finding.level == "error"]
    if errors:
        more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        raise BackendError(f"TensorRT can't take this model: {'; '.join(map(str, errors[:3]))}{more}")
    return tuple(found)


def lint(data: bytes) -> list[Finding]:
    """All findings in the ONNX file: of the whole graph, then of its nodes' operators, types and quantization."""
    import onnx

    model = onnx.load_from_string(data)
    found = [*_lint_opset(model), *_lint_shapes(model.graph)]
    for node in model.graph.node:
        found += _lint_operator(node)
    if any(finding.level == "error" for finding in found):
        return found  # ONNX itself can't infer types past operators that it does not know
    graph = inferred(model).graph
    return [*found, *_lint_types(graph), *(Finding(*parts) for parts in lint_quantization(graph))]


def _lint_opset(model: Any) -> Iterator[Finding]:
    from onnx import TensorProto

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    bf16 = any(item.data_type == TensorProto.BFLOAT16 for item in model.graph.initializer)
    newest = BF16_OPSET if bf16 else NEWEST_OPSET
    if not _OLDEST_OPSET <= opset <= newest:
        instead = f"export with opset {_OLDEST_OPSET} to {newest}"
        yield Finding("error", "the graph", "", f"is of ONNX opset {opset}", instead)


def _lint_shapes(graph: Any) -> Iterator[Finding]:
    """Only the batch may vary: one optimisation profile covers it."""
    constants = constants_of(graph)
    for item in graph.input:
        if item.name in constants:
            continue
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in item.type.tensor_type.shape.dim]
        if not sizes or min(sizes[1:], default=1) < 1:
            shown = ", ".join(str(size or "?") for size in sizes) or "?"
            yield Finding("error", "the input", item.name, f"has the shape ({shown})", "fix all sizes but the batch")


def _lint_operator(node: Any) -> Iterator[Finding]:
    if node.domain not in ("", "ai.onnx"):
        what = f"an operator of {node.domain}, which TensorRT has no importer for"
        yield Finding("error", node.op_type, node.name, what, "export with only ONNX's own operators")
    elif node.op_type in ALTERNATIVES:
        what = "an operator that TensorRT has no importer for"
        yield Finding("error", node.op_type, node.name, what, f"instead: {ALTERNATIVES[node.op_type]}")
    elif node.op_type == "Resize" and (refused := _refused_resize(node)):
        yield Finding("error", node.op_type, node.name, f"resizes with {refused}", "instead: mode linear or nearest")
    elif node.op_type in _VALUES_DECIDE:
        what = "the size of its result depends on values, which TensorRT has to wait for"
        yield Finding("warning", node.op_type, node.name, what, "a mask (Where) keeps sizes fixed")
    elif node.op_type in _BRANCHING:
        what = "TensorRT fuses nothing across a branch or loop"
        yield Finding("warning", node.op_type, node.name, what, "export the network without it")


def _refused_resize(node: Any) -> str | None:
    """The setting of a Resize that TensorRT does not support; None: it supports all."""
    import onnx

    settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("mode") == b"cubic":
        return "mode cubic"
    if settings.get("antialias"):
        return "antialiasing"
    if settings.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        return "tf_crop_and_resize"
    return None


def _lint_types(graph: Any) -> Iterator[Finding]:
    from onnx import TensorProto

    types = {name: each.elem_type for name, each in described(graph).items()}
    types |= {name: item.data_type for name, item in constants_of(graph).items()}
    for node in graph.node:
        read = [types.get(name) for name in node.input]
        # QuantizeLinear and its zero points have rules of their own
        if TensorProto.UINT8 in read and node.op_type not in ("Cast", "Shape", "QuantizeLinear", "DequantizeLinear"):
            what = "reads uint8, which TensorRT takes as the network's input only"
            yield Finding("error", node.op_type, node.name, what, "put a Cast to float before it")
        if TensorProto.DOUBLE in read:
            what = "reads float64, which TensorRT turns into fp32"
            yield Finding("warning", node.op_type, node.name, what, "export the network in float32")
