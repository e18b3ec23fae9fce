"""Half precision in the graph: what is cast, what stays as it is, and how much the logits change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeclf_export.exportable import Exportable
from edgeclf_export.graph.casting import BF16_OPSET, cast_graph, normalizing_nodes
from edgeclf_export.proof.images import load_proof_images
from edgeclf_export.targets.tensorrt.graph_session import widened
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.proof import TOLERANCES, compare, verdict_of
from edgeclf_runtime.errors import DataError

HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BACKBONES = (
    "test_resnet",
    pytest.param("test_vit", marks=pytest.mark.check),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_efficientnet", "mobilenetv3_small_050")),
)


def run(model: bytes, batch: NDArray[Any]) -> NDArray[np.float32]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def graph_of(
    nodes: list[Any], constants: dict[str, Any], *, entry: int = TensorProto.FLOAT, shape: tuple[Any, ...] = ("n", 4)
) -> bytes:
    """A hand-made model from "x" to the float "y"."""
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("x", entry, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    )
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class Cast:
    """A cast model, its nodes and constants by name, and the types of its tensors."""

    graph: Any
    opset: int

    @property
    def constants(self) -> dict[str, NDArray[Any]]:
        return {item.name: numpy_helper.to_array(item) for item in self.graph.initializer}

    @property
    def types(self) -> dict[str, int]:
        items = [*self.graph.value_info, *self.graph.input, *self.graph.output]
        found = {item.name: item.type.tensor_type.elem_type for item in items}
        return found | {item.name: item.data_type for item in self.graph.initializer}

    def nodes(self, operator: str) -> list[Any]:
        return [node for node in self.graph.node if node.op_type == operator]


def cast(model: bytes, precision: str) -> Cast:
    model_ = onnx.shape_inference.infer_shapes(onnx.load_from_string(cast_graph(model, precision)), data_prop=True)
    return Cast(model_.graph, model_.opset_import[0].version)


@pytest.fixture(params=HALVES)
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=BACKBONES)
def export_graph(request: pytest.FixtureRequest, load: Callable[[str], Exportable]) -> bytes:
    return load(request.param).make_onnx("uint8-nhwc", 18)


def test_input_and_output_keep_their_types(export_graph: bytes, precision: str) -> None:
    found = cast(export_graph, precision)
    (entry,), (output,) = found.graph.input, found.graph.output
    assert (entry.name, entry.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert (output.name, output.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)


def test_the_normalisation_stays_in_fp32_bit_for_bit_and_its_result_is_cast(
    export_graph: bytes, precision: str
) -> None:
    before, found = Cast(onnx.load_from_string(export_graph).graph, 18), cast(export_graph, precision)
    normalizing = normalizing_nodes(found.graph)
    operators = [node.op_type for node in normalizing]
    assert operators == ["Cast", "Transpose", "Mul", "Add", "Cast"]
    assert all(found.types[node.output[0]] == TensorProto.FLOAT for node in normalizing[:-1])
    assert found.types[normalizing[-1].output[0]] == HALVES[precision]
    for name in ("scale", "shift"):
        assert np.array_equal(found.constants[name], before.constants[name])
        assert found.constants[name].dtype == np.float32


def test_everything_after_the_normalisation_computes_in_half_precision(export_graph: bytes, precision: str) -> None:
    found = cast(export_graph, precision)
    behind = found.graph.node[len(normalizing_nodes(found.graph)) :]
    floats = [node.op_type for node in behind for name in node.output if found.types.get(name) == TensorProto.FLOAT]
    assert floats == ["Cast"]  # the logits
    weights = {name for node in behind for name in node.input if name in found.constants}
    assert not [name for name in weights if found.types[name] == TensorProto.FLOAT]


def test_the_file_is_half_as_large(export_graph: bytes, precision: str) -> None:
    weights = sum(item.ByteSize() for item in onnx.load_from_string(export_graph).graph.initializer)
    assert len(cast_graph(export_graph, precision)) < len(export_graph) - 0.45 * weights


def test_bf16_takes_the_opset_that_knows_it_and_fp16_the_one_it_came_with(export_graph: bytes) -> None:
    assert cast(export_graph, "fp16").opset == 18
    bf16 = onnx.load_from_string(cast_graph(export_graph, "bf16"))
    assert (bf16.opset_import[0].version, bf16.ir_version) == (BF16_OPSET, 10)


def test_a_float_input_is_cast_at_once(precision: str) -> None:
    model = graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(4, dtype=np.float32)})
    found = cast(model, precision)
    assert [node.op_type for node in found.graph.node] == ["Cast", "MatMul", "Cast"]
    assert found.types["x"] == TensorProto.FLOAT


def test_fp16_constants_stay_finite_and_never_become_zero() -> None:
    values = np.array([1e30, -1e30, 1e-30, -1e-30, 0.0, 1.5, -np.inf, 3e-5], dtype=np.float32)
    model = graph_of([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": values}, shape=("n", 8))
    (stored,) = (value for value in cast(model, "fp16").constants.values() if value.size == 8)
    assert stored.tolist()[:2] == [65504.0, -65504.0] and stored.tolist()[4:7] == [0.0, 1.5, -np.inf]
    assert stored[2] > 0 > stored[3]
    assert stored[7] == np.float16(3e-5)


def test_bf16_constants_are_rounded_to_nearest_ties_to_even() -> None:
    # bf16 has 7 bits of mantissa: the first lies half way between 1 and 1 + 1/128, the second up to 1 + 1/64
    values = np.array([1 + 1 / 256, 1 + 3 / 256, 1 + 1 / 300, -1e30], dtype=np.float32)
    model = graph_of([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": values})
    (stored,) = (value for value in cast(model, "bf16").constants.values() if value.size == 4)
    assert stored.astype(np.float32).tolist()[:3] == [1.0, 1 + 1 / 64, 1.0]
    assert float(stored[3]) == pytest.approx(-1e30, rel=1 / 256)


def test_a_constant_of_both_normalisation_and_network_exists_in_both_precisions(precision: str) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "third"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "w"], ["seen"]),
        helper.make_node("Mul", ["seen", "third"], ["y"]),
    ]
    constants = {"third": np.float32(1 / 3), "w": np.eye(4, dtype=np.float32)}
    found = cast(graph_of(nodes, constants, entry=TensorProto.UINT8), precision)
    kinds = {found.types[node.input[1]] for node in found.nodes("Mul")}
    assert kinds == {TensorProto.FLOAT, HALVES[precision]}


def test_what_onnx_defines_only_in_fp32_stays_so_between_casts(precision: str) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axes"], ["image"]),
        helper.make_node("Resize", ["image", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("ReduceMax", ["large"], ["y"]),
    ]
    constants = {"axes": np.array([1, 2], dtype=np.int64), "scales": np.array([1, 1, 2, 2], dtype=np.float32)}
    found = cast(graph_of(nodes, constants), precision)
    (resize,) = found.nodes("Resize")
    assert found.types[resize.input[0]] == HALVES[precision]
    assert found.types[resize.input[2]] == TensorProto.FLOAT


def test_an_operator_without_bf16_gets_fp32_and_gives_bf16() -> None:
    nodes = [helper.make_node("Mish", ["x"], ["seen"], name="odd"), helper.make_node("Relu", ["seen"], ["y"])]
    found = cast(graph_of(nodes, {}), "bf16")
    (mish,), (relu,) = found.nodes("Mish"), found.nodes("Relu")
    assert found.types[mish.input[0]] == found.types[mish.output[0]] == TensorProto.FLOAT
    assert found.types[relu.input[0]] == TensorProto.BFLOAT16


def test_hard_swish_which_tensorrt_lacks_in_bf16_becomes_its_two_parts() -> None:
    x = np.linspace(-5, 5, 8, dtype=np.float32).reshape(2, 4)
    model = graph_of([helper.make_node("HardSwish", ["x"], ["y"])], {})
    found = cast(model, "bf16")
    assert not found.nodes("HardSwish") and found.nodes("HardSigmoid")
    assert np.abs(run(widened(cast_graph(model, "bf16")), x) - run(model, x)).max() < 0.05
    assert cast(model, "fp16").nodes("HardSwish")


def test_a_branch_in_the_graph_is_refused_by_name(precision: str) -> None:
    def branch(name: str) -> Any:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Relu", ["x"], [name])], name, [], [value])

    nodes = [helper.make_node("If", ["c"], ["y"], "fork", then_branch=branch("a"), else_branch=branch("b"))]
    with pytest.raises(DataError, match=f"If fork holds a graph of its own, which can't be cast to {precision}"):
        cast_graph(graph_of(nodes, {"c": np.array(True)}), precision)


def test_the_proof_of_bf16_rounds_the_result_of_every_node() -> None:
    nodes = [helper.make_node("Add", ["x", "w"], ["sum"]), helper.make_node("Sub", ["sum", "w"], ["y"])]
    model = cast_graph(graph_of(nodes, {"w": np.full(4, 256, dtype=np.float32)}), "bf16")
    x = np.array([[1, 2, 3, 0.5]], dtype=np.float32)  # beyond 256 bf16 counts in twos
    assert run(widened(model), x).tolist() == [[0.0, 2.0, 4.0, 0.0]]


def assert_within_tolerances(exportable: Exportable, precision: str) -> None:
    pixels = load_proof_images(exportable.pixels).pixels
    export_graph = exportable.make_onnx("uint8-nhwc", 18)
    model = cast_graph(export_graph, precision)
    logits = run(widened(model) if precision == "bf16" else model, pixels)
    compared = compare(run(export_graph, pixels), logits, TOLERANCES[precision])
    assert verdict_of(compared, TOLERANCES[precision])[0] == "pass"
    assert compared.agreement == 1.0
    assert compared.max_relative > 1e-4  # or nothing was cast


def test_trained_weights_keep_their_logits_within_the_tolerances(trained: Exportable, precision: str) -> None:
    assert_within_tolerances(trained, precision)


@pytest.mark.slow
def test_imagenets_weights_keep_their_logits_within_the_tolerances(lite0: Exportable, precision: str) -> None:
    assert_within_tolerances(lite0, precision)


def test_the_file_that_is_written_is_the_cast_graph(
    load: Callable[[str], Exportable], tmp_path: Path, precision: str
) -> None:
    from edgeclf_export.targets.target import ExportGraph
    from edgeclf_export.targets.tensorrt import target as trt

    export_graph = ExportGraph(load("test_resnet"), "uint8-nhwc", 18)
    trt.build(export_graph, precision, tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == cast_graph(export_graph.onnx, precision)
