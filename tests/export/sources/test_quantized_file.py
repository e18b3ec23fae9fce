"""ONNX files that are quantized already: taken as they are, compared with themselves in float, their limits said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeclf_export.exporter import export
from edgeclf_export.failures import TargetsFailed
from edgeclf_export.graph.editing import lift_constants
from edgeclf_export.options import ExportOptions
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier
from edgeclf_export.sources.onnx_file.quantized import may_saturate, reference_of, without_rounding
from edgeclf_export.sources.onnx_file.reading import is_quantized_file
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.metrics import to_scores

FRUIT = ("apple", "pear", "plum")
SIDE = 16


def classifier(activation: str = "", *, channels: int = 8, transposed: bool = False) -> Any:
    """A convolution with a bias, ReLU6 (which a quantizer folds into a range), pooling and a product.

    `activation`: its last operator. `transposed`: the product's weights are (classes, channels), as torch writes them.
    """
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(channels, 3, 3, 3)).astype(np.float32),
        "kernel_bias": random.normal(size=channels).astype(np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
        "head": (np.array([1, 4, 16]) * random.normal(size=(channels, 3))).astype(np.float32),
        "bias": random.normal(size=3).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel", "kernel_bias"], ["seen"], name="conv"),
        helper.make_node("Clip", ["seen", "low", "high"], ["kept"], name="clip"),
        helper.make_node("GlobalAveragePool", ["kept"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], name="flatten"),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"], name="gemm", transB=int(transposed)),
    ]
    if transposed:
        weights["head"] = np.ascontiguousarray(weights["head"].T)
    if activation:
        nodes.append(helper.make_node(activation, ["logits"], ["scores"], name="activation"))
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    output = helper.make_tensor_value_info("scores" if activation else "logits", TensorProto.FLOAT, ["N", 3])
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "classifier", [entry], [output], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Images:
    def __init__(self, batches: list[NDArray[np.float32]]) -> None:
        self.left: Iterator[NDArray[np.float32]] = iter(batches)

    def get_next(self) -> Any:
        batch = next(self.left, None)
        return None if batch is None else {"input": batch}


INPUTS = np.random.default_rng(1).uniform(-1, 1, (8, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(params=["QDQ", "QOperator"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return quantized(tmp_path, request.param)


def quantized(folder: Path, form: str, network: Any = None, **options: Any) -> Path:
    import_onnxruntime()
    from onnxruntime import quantization

    onnx.save(network or classifier(), folder / "float.onnx")
    place = folder / "mine.onnx"
    if form == "dynamic":
        quantization.quantize_dynamic(str(folder / "float.onnx"), str(place))
    else:
        quant_format = quantization.QuantFormat[form]
        quantization.quantize_static(
            *map(str, (folder / "float.onnx", place)), Images([INPUTS]), quant_format, per_channel=True, **options
        )
    return place


def load(path: Path, *, multi_label: bool = False) -> Any:
    pixels = Pixels("exact", (SIDE, SIDE), (SIDE, SIDE), "bilinear")
    halves = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return load_onnx_classifier(path, labels=FRUIT, pixels=pixels, normalization=halves, multi_label=multi_label)


def run(model: Any, inputs: Any = INPUTS) -> Any:
    session = import_onnxruntime().InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def test_it_becomes_an_int8_bundle_as_it_is(file: Path, tmp_path: Path) -> None:
    (made,) = export(load(file), ExportOptions(("onnx",), "int8", output=tmp_path / "out"))
    bundle = Bundle.open(made.path)
    manifest = bundle.manifest
    comparison = made.proof.comparison
    assert made.proof.verdict == "pass" and comparison.max_relative > 1e-6 and comparison.near_ties < comparison.images
    assert manifest.tolerances.relative == max(1.5 * comparison.max_relative, 0.06)
    assert (manifest.weights_precision, manifest.compute_precision) == ("int8", "int8")
    assert manifest.shares == {"int8": 1.0} and manifest.ladder is None and manifest.calibration is None
    assert "taken as it is" in manifest.checks[0] and "compared with itself in float" in manifest.checks[0]
    assert "a CPU without VNNI" in manifest.checks[1]
    theirs = {node.op_type for node in onnx.load(file).graph.node}
    assert theirs <= {node.op_type for node in onnx.load_from_string(bundle.read("model.onnx")).graph.node}


def test_without_rounding_it_is_the_network_that_it_was_made_from_ranges_and_relu_included(file: Path) -> None:
    wanted, rounded, found = run(classifier()), run(onnx.load(file)), run(without_rounding(onnx.load(file)))
    span = np.ptp(wanted)
    assert np.abs(found - rounded).max() < 0.05 * span
    assert np.abs(found - wanted).max() < 0.05 * span


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid"])
def test_the_last_activation_is_cut_off_with_the_rounding_of_its_scores(
    form: str, activation: str, tmp_path: Path
) -> None:
    path = quantized(tmp_path, form, classifier(activation))
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert (operators[-1] == "DequantizeLinear" and f"QLinear{activation}" in operators) or activation in operators
    exportable = load(path)
    assert exportable.scores == activation.lower()
    logits = run(onnx.load_from_string(exportable.make_onnx("float-nchw", 17)))
    assert logits.min() < 0 and logits.max() > 1
    scores = to_scores(logits, exportable.scores)
    assert np.abs(scores - run(onnx.load(path))).max() < 0.02


@pytest.mark.parametrize("activation", ["", "Softmax"])
def test_scores_behind_the_name_of_a_class_are_taken_unless_they_are_integers(activation: str, tmp_path: Path) -> None:
    network = classifier(activation)
    scores = network.graph.output[0].name
    network.graph.node.append(helper.make_node("ArgMax", [scores], ["best"], axis=1, keepdims=0))
    network.graph.output[0].CopyFrom(helper.make_tensor_value_info("best", TensorProto.INT64, ["N"]))
    exportable = load(quantized(tmp_path, "QDQ", network))
    logits = run(onnx.load_from_string(exportable.make_onnx("float-nchw", 17)))
    assert np.mean(logits.argmax(1) == run(network)) >= 0.75 and exportable.scores == "softmax"
    with pytest.raises(DataError, match="best names classes from scores in 8 bits; export it with its scores"):
        load(quantized(tmp_path, "QOperator", network))


def test_many_logits_above_0_are_no_probabilities(tmp_path: Path) -> None:
    labels = 300
    network = classifier("Relu")
    constants = {item.name: item for item in network.graph.initializer}
    random = np.random.default_rng(3)
    for name, value in (("head", random.normal(size=(8, labels))), ("bias", random.normal(size=labels))):
        constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32) / 50, name))
    network.graph.output[0].type.tensor_type.shape.dim[1].dim_value = labels
    pixels = Pixels("exact", (SIDE, SIDE), (SIDE, SIDE), "bilinear")
    taken = load_onnx_classifier(
        quantized(tmp_path, "QDQ", network),
        labels=tuple(map(str, range(labels))),
        pixels=pixels,
        normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )
    assert len(taken.labels) == labels and taken.scores == "softmax"


@pytest.mark.parametrize("form", ["float", "QDQ", "QOperator"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_sigmoid_that_can_not_be_cut_off_is_refused_not_applied_twice(
    form: str, multi_label: bool, tmp_path: Path
) -> None:
    network = classifier("Sigmoid")
    network.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "weights_of_classes"))
    network.graph.node.append(helper.make_node("Mul", ["scores", "weights_of_classes"], ["weighted"], name="mul"))
    network.graph.output[0].name = "weighted"
    onnx.save(network, tmp_path / "float.onnx")
    path = tmp_path / "float.onnx" if form == "float" else quantized(tmp_path, form, network)
    with pytest.raises(DataError, match="follow from its sigmoid, which can't be cut off there"):
        load(path, multi_label=multi_label)


def test_a_sigmoid_inside_a_network_is_none_of_its_scores(tmp_path: Path) -> None:
    """As of SiLU: weights lie between it and the logits, even where those all lie between 0 and 1."""
    network = classifier()
    (clip,) = (node for node in network.graph.node if node.op_type == "Clip")
    clip.CopyFrom(helper.make_node("Sigmoid", ["seen"], ["kept"]))
    for item in network.graph.initializer:
        if item.name in ("head", "bias"):
            small = 0.001 * numpy_helper.to_array(item) + (0.5 if item.name == "bias" else 0)
            item.CopyFrom(numpy_helper.from_array(small.astype(np.float32), item.name))
    onnx.save(network, tmp_path / "inside.onnx")
    assert load(tmp_path / "inside.onnx", multi_label=True).scores == "sigmoid"


@pytest.mark.parametrize("channels", [3, 8])
def test_weights_of_a_product_that_are_stored_transposed_keep_their_scales(channels: int, tmp_path: Path) -> None:
    network = classifier(channels=channels, transposed=True)
    rounded = onnx.load(quantized(tmp_path, "QOperator", network))
    assert "QGemm" in {node.op_type for node in rounded.graph.node}
    wanted, found = run(network), run(without_rounding(rounded))
    assert np.abs(found - wanted).max() < 0.05 * np.ptp(wanted)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_pixels_may_be_its_first_integers(form: str, tmp_path: Path) -> None:
    """As files are that were TensorFlow Lite's: uint8 pixels, and their normalisation is a scale and a zero point."""
    model = onnx.load(quantized(tmp_path, form))
    pair = [numpy_helper.from_array(np.float32(1 / 127.5), "pixel"), numpy_helper.from_array(np.uint8(128), "grey")]
    model.graph.initializer.extend(pair)
    first = next(node for node in model.graph.node if node.input[0] == "input")
    model.graph.input[0].name, model.graph.input[0].type.tensor_type.elem_type = "pixels", TensorProto.UINT8
    if form == "QDQ":
        model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["pixels", "pixel", "grey"], ["input"]))
    else:
        for node in model.graph.node:
            if first.output[0] in node.input:
                node.input[0], node.input[1], node.input[2] = "pixels", "pixel", "grey"
        model.graph.node.remove(first)
    onnx.save(model, tmp_path / "pixels.onnx")
    pixels = np.random.default_rng(2).integers(0, 256, (8, 3, SIDE, SIDE), dtype=np.uint8)
    unrounded = without_rounding(model)
    assert unrounded is not None
    wanted = run(classifier(), ((pixels.astype(np.float32) - 128) / 127.5).astype(np.float32))
    assert np.abs(run(unrounded, pixels) - wanted).max() < 0.05 * np.ptp(wanted)


def test_the_standard_operators_may_be_those_of_ai_onnx(file: Path) -> None:
    model = onnx.load(file)
    for entry in model.opset_import:
        entry.domain = entry.domain or "ai.onnx"
    assert np.array_equal(run(without_rounding(model)), run(without_rounding(onnx.load(file))))


def test_a_form_in_float_that_does_not_run_leaves_the_file_as_its_own_reference(file: Path) -> None:
    model = onnx.load(file)
    found, limits = reference_of(model, lambda unrounded: False)
    assert found is model and "compared with its own int8 logits" in limits[0]
    assert reference_of(model, lambda unrounded: True)[0] is not model


def test_a_file_whose_weights_alone_are_in_8_bits_is_refused(tmp_path: Path) -> None:
    model = classifier()
    (head,) = (item for item in model.graph.initializer if item.name == "head")
    scale = np.float32(np.abs(numpy_helper.to_array(head)).max() / 127)
    stored = np.round(numpy_helper.to_array(head) / scale).astype(np.int8)
    model.graph.initializer.remove(head)
    arrays = {"stored": stored, "scale": scale, "zero": np.int8(0)}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items())
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", list(arrays), ["head"]))
    onnx.save(model, tmp_path / "weights.onnx")
    with pytest.raises(DataError, match=r"\(1 DequantizeLinear\), .* with weights alone: give the file"):
        load(tmp_path / "weights.onnx")


def in_nodes(model: Any, *, computed: bool = False) -> Any:
    """The model with a node for each constant, as other exporters write them; `computed`: scales follow from two."""
    nodes, scales = [], {name for node in model.graph.node if "Linear" in node.op_type for name in node.input[1:2]}
    for item in model.graph.initializer:
        name = f"{item.name}_in_a_node"
        nodes.append(helper.make_node("Constant", [], [name], value=item))
        kind, more = ("Add", [name]) if computed and item.name in scales else ("Identity", [])
        nodes.append(helper.make_node(kind, [name, *more], [item.name]))
    nodes += model.graph.node
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_constants_in_nodes_are_constants(file: Path) -> None:
    theirs = in_nodes(onnx.load(file))
    unrounded = without_rounding(theirs)
    assert unrounded is not None
    assert np.array_equal(run(unrounded), run(without_rounding(onnx.load(file))))
    assert may_saturate(theirs) and not theirs.graph.initializer  # which ships as it is


def test_scales_that_are_computed_have_no_form_in_float(file: Path) -> None:
    assert without_rounding(in_nodes(onnx.load(file), computed=True)) is None


@pytest.mark.parametrize(
    ("attributes", "value"),
    [({"value_float": 0.5}, 0.5), ({"value_ints": [2, 3]}, [2, 3]), ({"value_int": 7}, 7)],
)
def test_a_node_may_hold_plain_numbers(attributes: dict[str, Any], value: Any) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attributes), helper.make_node("Identity", ["c"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [], [output])
    lift_constants(graph)
    (constant,) = graph.initializer
    assert constant.name == "c" and np.array_equal(numpy_helper.to_array(constant), value)
    assert [node.op_type for node in graph.node] == ["Identity"]  # an output stays one


def test_other_precisions_targets_and_options_are_refused(file: Path, tmp_path: Path) -> None:
    exportable = load(file)
    for options in (
        ExportOptions(("onnx",), "fp32", output=tmp_path / "out"),
        ExportOptions(("openvino",), "int8", output=tmp_path / "out"),
    ):
        with pytest.raises(UsageError, match="quantized already: give --precision int8 and --target onnx"):
            export(exportable, options)
    with pytest.raises(UsageError, match="nothing is calibrated, gated or learned"):
        export(exportable, ExportOptions(("onnx",), "int8", output=tmp_path / "out", int8=Int8Options(fallback=True)))


def test_a_file_whose_convolution_is_in_float_is_refused_with_what_to_do(tmp_path: Path) -> None:
    place = quantized(tmp_path, "QDQ", op_types_to_quantize=["Gemm"])
    with pytest.raises(
        TargetsFailed, match=r"run in int8 .*; the file is quantized already.*quantize its float network"
    ):
        export(load(place), ExportOptions(("onnx",), "int8", output=tmp_path / "out"))


def test_ranges_that_are_measured_for_each_image_are_refused(tmp_path: Path) -> None:
    place = quantized(tmp_path, "dynamic")
    with pytest.raises(DataError, match=r"mine\.onnx: is quantized already \(\d+ \w+.*measured for each image"):
        load(place)
    with pytest.raises(DataError, match="measured for each image"):
        is_quantized_file(place)
    assert not is_quantized_file(tmp_path / "float.onnx")


def test_operators_without_a_form_in_float_leave_the_file_as_its_own_reference(tmp_path: Path) -> None:
    model = onnx.load(quantized(tmp_path, "QOperator"))
    for node in model.graph.node:
        if node.op_type == "QLinearGlobalAveragePool":
            node.op_type, node.name = "QLinearSoftmax", "other"
    assert without_rounding(model) is None
