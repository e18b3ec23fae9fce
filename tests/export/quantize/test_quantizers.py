"""Ranges, Q/DQ, bias correction, sensitivity: each works as the ladder needs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from patches import PATCH_PIXELS

from edgeclf_export.exportable import Exportable
from edgeclf_export.graph.batches import batched
from edgeclf_export.graph.editing import cut_to
from edgeclf_export.graph.layers import WEIGHTED, family, layers
from edgeclf_export.graph.pieces import pieces
from edgeclf_export.quantize import sensitivity
from edgeclf_export.quantize.activation_ranges import Activations, fixed_batch, least_squares, observe, open_quietly
from edgeclf_export.quantize.bias_correction import correct_biases, shifted
from edgeclf_export.targets import ort_quantizer, ov_quantizer
from edgeclf_export.targets.tensorrt import quantizer as trt_quantizer
from edgeclf_export.targets.tensorrt.graph_session import literal_session
from edgeclf_export.targets.tensorrt.lint import lint
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.images.labelled import LabelledImage


@pytest.fixture(scope="module")
def export_graph(trained: Exportable) -> bytes:
    return trained.make_onnx("uint8-nhwc", 18)


@pytest.fixture(scope="module")
def images(patches: dict[str, tuple[LabelledImage, ...]]) -> NDArray[np.uint8]:
    return np.stack([PATCH_PIXELS.load(image.path)[0] for image in patches["train"][::4]])


@pytest.fixture(scope="module")
def seen(export_graph: bytes, images: NDArray[np.uint8]) -> Activations:
    return observe(export_graph, images)


def run(model: bytes, images: NDArray[np.uint8]) -> Any:
    session = open_quietly(model)
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def test_ranges_include_zero_and_every_value_measured(seen: Activations) -> None:
    for name, (low, high) in seen.ranges("min-max").items():
        assert low <= 0 <= high
        assert low <= seen.values[name].min() and seen.values[name].max() <= high


def test_percentiles_leave_out_a_single_outlier() -> None:
    values = np.append(np.linspace(0, 1, 100_000, dtype=np.float32), np.float32(50))
    found = Activations({"x": (0.0, 50.0)}, {"x": values})
    assert found.ranges("percentile")["x"] == pytest.approx((0, 1), abs=0.01)
    assert found.ranges("min-max")["x"] == (0.0, 50.0)


def test_least_squares_clips_where_that_costs_less() -> None:
    values = np.append(np.random.default_rng(0).normal(0, 1, 100_000), 40).astype(np.float32)
    _, high = least_squares(values, float(values.min()), 40.0)
    assert high < 36
    assert least_squares(np.zeros(5, np.float32), 0.0, 0.0) == (0.0, 0.0)


def test_no_int8_product_can_saturate_without_vnni(export_graph: bytes, seen: Activations) -> None:
    """VPMADDUBSW adds two products of uint8 and int8 in int16."""
    model = onnx.load_from_string(ort_quantizer.quantize(export_graph, seen.ranges("min-max")))
    weights = _int8_weights(model)
    assert len(weights) == len(layers(onnx.load_from_string(export_graph)))
    largest = max(int(np.abs(found.astype(np.int64)).max()) for found in weights.values())
    assert 2 * 255 * largest <= np.iinfo(np.int16).max


def test_weights_have_a_scale_for_each_channel(export_graph: bytes, seen: Activations) -> None:
    model = onnx.load_from_string(ort_quantizer.quantize(export_graph, seen.ranges("min-max")))
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = [constants[makers[node.input[1]].input[1]] for node in model.graph.node if node.op_type == "Conv"]
    assert [scale.size for scale in scales] == [16, 32, 32, 16, 64]


def test_nodes_that_are_left_in_float_have_float_weights(export_graph: bytes, seen: Activations) -> None:
    kept = layers(onnx.load_from_string(export_graph))[0]
    model = onnx.load_from_string(ort_quantizer.quantize(export_graph, seen.ranges("min-max"), leave=(kept.node,)))
    node = next(node for node in model.graph.node if node.name == kept.node)
    constants = {item.name: item for item in model.graph.initializer}
    assert constants[node.input[1]].data_type == onnx.TensorProto.FLOAT


def test_a_layer_that_is_left_in_float_is_computed_in_float(images: NDArray[np.uint8]) -> None:
    """ONNX Runtime would quantize weights between Q/DQ as it loads a model: here one outlier takes their whole grid."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(0, 0.3, (8, 3, 3, 3)), rng.normal(0, 0.3, (4, 8, 1, 1))
    hard = rng.normal(0, 0.3, (8, 8, 3, 3))
    hard[0, 0, 0, 0] = 100
    weights = {
        "first": first,
        "hard": hard,
        "last": last,
        "bias": np.full(8, 0.01),
        "low": np.array(0),
        "high": np.array(6),
    }
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    for bias, activation in ((["bias"], ["low", "high"]), ([], ["low", "high"]), (["bias"], None)):
        node = helper.make_node
        nodes = [
            node("Conv", ["x", "first"], ["a"], "conv_a", pads=[1, 1, 1, 1]),
            node("Conv", ["a", "hard", *bias], ["b"], "conv_b", pads=[1, 1, 1, 1]),
            node("Clip", ["b", *activation], ["c"]) if activation else node("Relu", ["b"], ["c"]),
            node("Conv", ["c", "last"], ["y"], "conv_y"),
        ]
        ports = [helper.make_tensor_value_info(name, 1, ["n", size, 8, 8]) for name, size in (("x", 3), ("y", 4))]
        graph = helper.make_graph(nodes, "hard", ports[:1], ports[1:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        data = model.SerializeToString()
        pixels = rng.normal(0, 1, (16, 3, 8, 8)).astype(np.float32)
        ranges = {**observe(data, pixels).ranges("min-max"), "x": (float(pixels.min()), float(pixels.max()))}
        quantized = ort_quantizer.quantize(data, ranges, leave=("conv_b",))
        as_written = literal_session(quantized).run(None, {"x": pixels})[0]
        np.testing.assert_allclose(run(quantized, pixels), as_written, atol=1e-4)
        network = onnx.load_from_string(shifted(quantized, {"conv_b": np.full(8, 3.0)}))
        stored = {item.name: numpy_helper.to_array(item) for item in network.graph.initializer}
        moved = stored["b_bias_in_float_int32"] * np.float64(stored["b_bias_in_float_scale"])
        np.testing.assert_allclose(moved, 3 + 0.01 * len(bias), rtol=1e-6)


def test_the_small_network_gives_the_same_predictions_in_int8(
    export_graph: bytes, seen: Activations, images: NDArray[np.uint8]
) -> None:
    wanted, found = run(export_graph, images), run(ort_quantizer.quantize(export_graph, seen.ranges("min-max")), images)
    assert np.abs(wanted - found).max() < 0.2 * np.ptp(wanted)


def test_bias_correction_removes_a_planted_shift(
    export_graph: bytes, seen: Activations, images: NDArray[np.uint8]
) -> None:
    shifted = onnx.load_from_string(ort_quantizer.quantize(export_graph, seen.ranges("min-max")))
    conv = next(node for node in shifted.graph.node if node.op_type == "Conv")
    makers = {name: node for node in shifted.graph.node for name in node.output}
    bias = next(item for item in shifted.graph.initializer if item.name == makers[conv.input[2]].input[0])
    changed = numpy_helper.to_array(bias) + 3000
    bias.CopyFrom(numpy_helper.from_array(changed.astype(np.int32), bias.name))
    data = shifted.SerializeToString()
    wanted = run(export_graph, images)
    before = np.abs(run(data, images) - wanted).mean()
    after = np.abs(run(correct_biases(export_graph, data, images), images) - wanted).mean()
    assert after < before / 3


def test_sensitivity_finds_the_layer_that_was_made_hard_to_quantize(
    trained: Exportable, export_graph: bytes, images: NDArray[np.uint8]
) -> None:
    model = onnx.load_from_string(export_graph)
    victim = next(layer for layer in layers(model) if layer.operator == "Gemm")
    weight = next(item for item in model.graph.initializer if item.name == victim.weight)
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] += 40 * np.abs(values).max()  # one weight takes the whole grid, the others round to 0
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    changed = model.SerializeToString()
    sensitivities = sensitivity.measure(changed, observe(changed, images).ranges("min-max"), images)
    assert sensitivities[0].node == victim.node
    assert sum(sensitivity.macs_share for sensitivity in sensitivities) == pytest.approx(1.0)


def test_the_worst_layers_stay_within_the_macs_that_may_be_in_float() -> None:
    sensitivities = tuple(sensitivity.Sensitivity(str(i), "Conv", 1.0 - i / 10, 0.15) for i in range(6))
    assert sensitivity.worst(sensitivities, 0.5, 0.2) == ("0",)
    assert sensitivity.worst(sensitivities, 0.5, 1.0) == ("0", "1", "2")
    assert sensitivity.worst(sensitivities, 0.5, 0.1) == ()


def test_attention_is_recognised() -> None:
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Softmax", ["c"], ["d"])]
    nodes.append(helper.make_node("MatMul", ["d", "b"], ["e"]))
    assert family(helper.make_model(helper.make_graph(nodes, "g", [], []))) == "transformer"
    assert family(helper.make_model(helper.make_graph(nodes[:2], "g", [], []))) == "convolutional"


def test_quantized_for_tensorrt_it_passes_the_lint(export_graph: bytes, seen: Activations) -> None:
    assert [str(finding) for finding in lint(trt_quantizer.quantize(export_graph, seen.ranges("min-max")))] == []


def test_nncf_finds_the_biases_to_correct(export_graph: bytes, images: NDArray[np.uint8]) -> None:
    pytest.importorskip("nncf")
    core = openvino_core()
    logits = [
        core.compile_model(ov_quantizer.quantize(export_graph, images, "min-max", corrected=corrected), "CPU")(
            {0: images}
        )[0]
        for corrected in (False, True)
    ]
    assert np.abs(logits[0] - logits[1]).max() > 1e-4 * np.ptp(logits[0])


def test_layers_left_in_float_are_found_in_openvino(export_graph: bytes, images: NDArray[np.uint8]) -> None:
    pytest.importorskip("nncf")
    kept = layers(onnx.load_from_string(export_graph))[1]
    quantized = ov_quantizer.quantize(export_graph, images, "min-max", corrected=False, leave=(kept.node,))
    full = ov_quantizer.quantize(export_graph, images, "min-max", corrected=False)
    assert _int8_constants(quantized) == _int8_constants(full) - 1


def _int8_constants(network: Any) -> int:
    return sum(
        node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i8"
        for node in network.get_ops()
    )


def test_in_the_proof_for_tensorrt_onnx_runtime_quantizes_nothing_by_itself(
    export_graph: bytes, seen: Activations
) -> None:
    session = literal_session(trt_quantizer.rest_in_fp16(trt_quantizer.quantize(export_graph, seen.ranges("min-max"))))
    assert session.get_session_options().get_session_config_entry("session.disable_quant_qdq") == "1"


def test_a_network_without_biases_stays_as_it_is(
    export_graph: bytes, seen: Activations, images: NDArray[np.uint8]
) -> None:
    bare = onnx.load_from_string(export_graph)
    for node in bare.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            del node.input[2:]
    quantized = ort_quantizer.quantize(bare.SerializeToString(), seen.ranges("min-max"))
    assert correct_biases(bare.SerializeToString(), quantized, images) == quantized


def test_what_onnx_runtime_logs_of_a_normalization_layer_is_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale"], ["y"]),
        helper.make_node("MatMul", ["y", "weight"], ["z"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("z", 3))
    ]
    constants = {"scale": np.ones(4, np.float32), "weight": np.ones((4, 3), np.float32)}
    weights = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "normalized", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ort_quantizer.quantize(model.SerializeToString(), dict.fromkeys("xyz", (-1.0, 1.0)))
    assert not caplog.records


def _int8_weights(model: Any) -> dict[str, Any]:
    """The int8 weights of a Q/DQ ModelProto by their names."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {item.name: item for item in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and (dequantize := makers.get(node.input[1])) is not None:
            item = constants.get(dequantize.input[0]) if dequantize.op_type == "DequantizeLinear" else None
            if item is not None:
                found[item.name] = numpy_helper.to_array(item)
    return found


def test_bias_correction_in_pieces_runs_the_whole_graph(
    export_graph: bytes, seen: Activations, images: NDArray[np.uint8]
) -> None:
    quantized = onnx.load_from_string(ort_quantizer.quantize(export_graph, seen.ranges("min-max")))
    ends = [node.name for node in quantized.graph.node if node.op_type in ("Conv", "Gemm")]
    values: dict[str, Any] = {"images": images}
    for piece in pieces(quantized, ends):
        given = {name: values[name] for name in piece.inputs}
        session = open_quietly(piece.model(given))
        values |= dict(zip(piece.outputs, session.run(list(piece.outputs), given), strict=True))
    last = quantized.graph.node[-1] if quantized.graph.node[-1].name in ends else piece.nodes[-1]
    wanted = run(cut_to(quantized, [last.output[0]], onnx.TensorProto.FLOAT).SerializeToString(), images)
    assert np.abs(values[last.output[0]] - wanted).max() < 0.02 * np.ptp(wanted)


def test_a_graph_that_is_fixed_to_a_batch_gets_whole_batches() -> None:
    inputs = np.arange(7)

    def sizes(fixed: Any, count: int = 7) -> list[int]:
        session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(shape=[fixed, 3])])
        return [len(batch) for batch in batched(inputs[:count], fixed_batch(session), 4)]

    assert sizes("batch") == [4, 3] and sizes(3) == [3, 3] and sizes(3, count=2) == [3]
