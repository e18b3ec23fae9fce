"""What TensorRT refuses, misreads or runs slowly is found in the graph, with the node's name and an alternative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeclf_export.exportable import Exportable
from edgeclf_export.graph.casting import cast_graph
from edgeclf_export.targets.tensorrt.lint import Finding, check_graph, lint
from edgeclf_export.targets.tensorrt.target import _linted
from edgeclf_runtime.backends.tensorrt.parser_errors import ALTERNATIVES
from edgeclf_runtime.errors import BackendError

INT8, UINT8 = np.int8, np.uint8


def model_of(
    nodes: list[Any],
    constants: dict[str, Any] | None = None,
    *,
    entry: int = TensorProto.FLOAT,
    shape: tuple[Any, ...] | None = ("batch", 3, 8, 8),
    opset: int = 18,
    domain: str | None = None,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("x", entry, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def node(operator: str, inputs: str = "x", output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{operator}", **attributes)


def only(model: bytes) -> Finding:
    (finding,) = lint(model)
    return finding


@pytest.mark.parametrize("operator", ALTERNATIVES)
def test_an_operator_that_tensorrt_cannot_import_is_an_error_with_an_alternative(operator: str) -> None:
    finding = only(model_of([node(operator)]))
    assert (finding.level, finding.operator, finding.node) == ("error", operator, f"the_{operator}")
    assert str(finding).endswith(f"instead: {ALTERNATIVES[operator]}")


def test_an_operator_of_another_domain_is_an_error_that_names_the_domain() -> None:
    odd = helper.make_node("FusedConv", ["x"], ["y"], name="odd", domain="com.microsoft")
    finding = only(model_of([odd], domain="com.microsoft"))
    assert finding.level == "error" and "FusedConv odd: an operator of com.microsoft" in str(finding)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mode": "cubic"}, "mode cubic"),
        ({"mode": "linear", "antialias": 1}, "antialiasing"),
        ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
    ],
)
def test_a_resize_that_tensorrt_does_not_support_is_an_error(settings: dict[str, Any], named: str) -> None:
    finding = only(model_of([node("Resize", **settings)]))
    assert finding.level == "error" and named in finding.what
    assert not lint(model_of([node("Resize", mode="linear")]))


@pytest.mark.parametrize(
    ("shape", "shown"), [(("batch", 3, "h", "w"), "?, 3, ?, ?"), ((1, 3, 8, "w"), "1, 3, 8, ?"), (None, "(?)")]
)
def test_only_the_batch_may_vary(shape: Any, shown: str) -> None:
    finding = only(model_of([node("Relu")], shape=shape))
    assert finding.level == "error" and shown in finding.what and finding.instead == "fix all sizes but the batch"


@pytest.mark.parametrize("shape", [("batch", 3, 8, 8), (4, 3, 8, 8)])
def test_a_batch_that_varies_or_is_fixed_is_fine(shape: Any) -> None:
    assert not lint(model_of([node("Relu")], shape=shape))


@pytest.mark.parametrize("opset", [8, 21, 23])
def test_an_opset_that_no_supported_tensorrt_reads_is_an_error(opset: int) -> None:
    finding = only(model_of([node("Relu")], opset=opset))
    assert finding.level == "error" and f"opset {opset}" in finding.what and "9 to 20" in finding.instead


def test_bf16_may_have_the_opset_that_knows_it() -> None:
    model = cast_graph(model_of([node("MatMul", "x w")], {"w": np.eye(8, dtype=np.float32)}), "bf16")
    assert onnx.load_from_string(model).opset_import[0].version == 22
    assert not lint(model)


def test_uint8_may_be_cast_and_nothing_else() -> None:
    turned = [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Cast", "t", to=TensorProto.FLOAT)]
    findings = lint(model_of(turned, entry=TensorProto.UINT8))
    assert (findings[0].operator, findings[0].level) == ("Transpose", "error")
    assert "put a Cast to float before it" in str(findings[0])
    assert not lint(model_of([node("Cast", to=TensorProto.FLOAT)], entry=TensorProto.UINT8))


def test_float64_is_a_warning() -> None:
    nodes = [node("Cast", "x", "d", to=TensorProto.DOUBLE), node("Relu", "d", "r"), node("Cast", "r", "y", to=1)]
    findings = lint(model_of(nodes))
    assert {finding.level for finding in findings} == {"warning"}
    assert all("float64" in finding.what for finding in findings)


def branch(name: str) -> Any:
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Relu", ["x"], [name])], name, [], [value])


@pytest.mark.parametrize(
    ("slow", "message"),
    [
        (node("NonZero"), "depends on values"),
        (node("If", "yes", then_branch=branch("a"), else_branch=branch("b")), "branch or loop"),
    ],
)
def test_what_tensorrt_runs_slowly_is_a_warning(slow: Any, message: str) -> None:
    finding = only(model_of([slow], {"yes": np.array(True)}))
    assert finding.level == "warning" and message in finding.what


def quantized(
    *,
    point: Any = INT8(0),
    scale: Any = np.float32(0.1),
    weight_scale: Any = None,
    weight: bool = True,
    activation: bool = True,
    bias: Any = None,
) -> bytes:
    """A convolution with Q/DQ around its inputs, by TensorRT's rules except for these changes."""
    nodes, constants = [], {"w": np.ones((4, 3, 3, 3), dtype=np.int8), "point": point, "scale": scale}
    constants["w_scale"] = np.full(4, 0.01, dtype=np.float32) if weight_scale is None else weight_scale
    constants["w_point"] = np.zeros(constants["w_scale"].shape, dtype=np.int8)
    constants["floats"] = np.ones((4, 3, 3, 3), dtype=np.float32)
    if activation:
        nodes += [node("QuantizeLinear", "x scale point", "q"), node("DequantizeLinear", "q scale point", "d")]
    if weight:
        nodes.append(node("DequantizeLinear", "w w_scale w_point", "dw", axis=0))
    inputs = f"{'d' if activation else 'x'} {'dw' if weight else 'floats'}"
    if bias is not None:
        constants |= {"b": np.ones(4, dtype=np.int32), "b_scale": np.float32(0.001), "b_point": bias}
        nodes.append(node("DequantizeLinear", "b b_scale b_point", "db"))
        inputs += " db"
    return model_of([*nodes, node("Conv", inputs)], constants)


def test_int8_by_tensorrts_rules_has_no_findings() -> None:
    assert lint(quantized()) == []


@pytest.mark.parametrize(
    ("changes", "level", "operator", "message"),
    [
        ({"point": UINT8(0)}, "error", "QuantizeLinear", "uint8"),
        ({"point": INT8(3)}, "error", "QuantizeLinear", "zero point other than 0"),
        ({"scale": np.float32(0)}, "error", "QuantizeLinear", "a scale of 0"),
        ({"scale": np.float32(-1)}, "error", "DequantizeLinear", "a scale of -1"),
        ({"scale": np.float16(1e-6)}, "warning", "QuantizeLinear", "too small to be exact"),
        ({"bias": np.int32(0)}, "error", "DequantizeLinear", "bias quantized to int32"),
        ({"activation": False}, "warning", "Conv", "only one of its two inputs is quantized"),
        ({"weight": False}, "warning", "Conv", "only one of its two inputs is quantized"),
        ({"weight_scale": np.full(1, 0.01, dtype=np.float32)}, "warning", "Conv", "one scale for all channels"),
    ],
)
def test_each_rule_of_explicit_quantization(changes: dict[str, Any], level: str, operator: str, message: str) -> None:
    findings = lint(quantized(**changes))
    assert (level, operator) in {(finding.level, finding.operator) for finding in findings if message in finding.what}
    assert {finding.level for finding in findings} == {level}


def test_a_zero_point_that_is_left_out_means_uint8_to_onnx_and_is_an_error() -> None:
    finding = only(model_of([node("QuantizeLinear", "x scale")], {"scale": np.float32(0.1)}))
    assert finding.level == "error" and "reads as uint8" in finding.what


def test_a_scale_that_is_computed_is_an_error() -> None:
    findings = lint(model_of([node("QuantizeLinear", "x x point")], {"point": INT8(0)}))
    assert "a scale that is computed" in findings[0].what


@pytest.mark.parametrize(("sides", "found"), [("d d", 1), ("d x", 0)])
def test_of_a_residual_add_one_side_is_quantized(sides: str, found: int) -> None:
    nodes = [node("QuantizeLinear", "x scale point", "q"), node("DequantizeLinear", "q scale point", "d")]
    model = model_of([*nodes, node("Add", sides)], {"scale": np.float32(0.1), "point": INT8(0)})
    findings = lint(model)
    assert [(finding.level, finding.operator) for finding in findings] == [("warning", "Add")] * found


def test_errors_are_raised_together_and_more_than_three_are_counted() -> None:
    nodes = [node("Det", "x", "a"), node("Unique", "a", "b"), node("Col2Im", "b", "c"), node("Bernoulli", "c", "d")]
    with pytest.raises(BackendError, match=r"TensorRT can't take this model: Det the_Det: .*Col2Im.*; and 1 more$"):
        check_graph(model_of([*nodes, node("Relu", "d")]))


def test_warnings_are_returned() -> None:
    assert [finding.operator for finding in check_graph(model_of([node("NonZero")]))] == ["NonZero"]


@pytest.mark.parametrize(
    "backbone",
    [
        "test_resnet",
        pytest.param("test_vit", marks=pytest.mark.check),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_efficientnet", "mobilenetv3_small_050")),
    ],
)
def test_the_exporters_own_graphs_have_no_findings(backbone: str, load: Callable[[str], Exportable]) -> None:
    assert lint(load(backbone).make_onnx("uint8-nhwc", 18)) == []


def test_the_same_warning_about_many_nodes_is_reported_once() -> None:
    many = tuple(Finding("warning", "Add", f"add{number}", "is slow", "fix it") for number in range(50))
    other = Finding("warning", "Conv", "conv", "is slower", "fix it")
    linted = _linted((*many, other))
    assert linted.endswith("but: Add add0: is slow; fix it (50 nodes in all); Conv conv: is slower; fix it")
