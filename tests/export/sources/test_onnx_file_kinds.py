"""ONNX files of many tools: exported with the file's own logits, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
FRUIT = ("apple", "pear", "plum", "quince", "fig")
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
Load = Callable[..., Any]


def build(
    *ends: Any,
    outputs: dict[str, tuple[int, list[Any]]] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
    entry: tuple[int, list[Any]] = (TensorProto.FLOAT, ["N", 3, 32, 32]),
    starts: tuple[Any, ...] = (),
    first: str = "input",
    more: dict[str, NDArray[Any]] | None = None,
    classes: int = 5,
    floats: Any = np.float32,
) -> Any:
    """Convolution, pooling and a linear layer whose output is "logits", then the nodes `ends`."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(6, 3, 5, 5)).astype(floats),
        "head": (4 * random.normal(size=(6, classes))).astype(floats),
        "bias": random.normal(size=classes).astype(floats),
        **(more or {}),
    }
    nodes = [
        *starts,
        helper.make_node("Conv", [first, "kernel"], ["seen"], strides=[2, 2]),
        helper.make_node("Relu", ["seen"], ["kept"]),
        helper.make_node("GlobalAveragePool", ["kept"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"]),
        *ends,
    ]
    found = outputs or {"logits": (TensorProto.FLOAT, ["N", classes])}
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in found.items() if shape]
    entries = [helper.make_tensor_value_info("input", *entry)]
    arrays = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "classifier", entries, values, arrays)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(model: Any, labels: tuple[str, ...] = FRUIT, **options: Any) -> Any:
        path = tmp_path / "theirs.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        options.setdefault("normalization", Normalization(MEAN, STD))
        pixels = Pixels("shorter", (36, 36), (32, 32), "bilinear")
        return load_onnx_classifier(path, labels=labels, pixels=pixels, **options)

    return load


def own_logits(model: Any, *, bgr: bool = False, raw: bool = False, output: str = "logits") -> NDArray[np.float32]:
    """What ONNX Runtime gives for the file as it is, fed with pixels normalised in double precision."""
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    values: Any = IMAGES if raw else (IMAGES / 255 - np.array(MEAN)) / np.array(STD)
    values = values[..., ::-1] if bgr else values
    values = values.transpose(0, 3, 1, 2) if entry.shape[1] == 3 else values
    kinds = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
    found = session.run([output], {entry.name: values.astype(kinds.get(entry.type, np.float32))})[0]
    return np.asarray(found, dtype=np.float32).reshape(len(IMAGES), -1)


def assert_bundles_give(exportable: Any, wanted: Any, folder: Path, tolerance: float = 1e-4, **options: Any) -> Bundle:
    for exported in export(exportable, ExportOptions(("onnx", "openvino"), output=folder, **options)):
        assert exported.proof.verdict == "pass"
        with open_session(exported.path) as session:
            assert np.abs(session(IMAGES) - wanted).max() < tolerance * np.ptp(wanted)
    return Bundle.open(exported.path)


@pytest.mark.parametrize("layout", [pytest.param("NCHW", marks=pytest.mark.slow), "NHWC"])
def test_a_bgr_file_gets_its_channels_reversed(layout: str, load: Load, tmp_path: Path) -> None:
    model = build()
    if layout == "NHWC":
        turn = helper.make_node("Transpose", ["input"], ["turned"], perm=[0, 3, 1, 2])
        model = build(starts=(turn,), first="turned", entry=(TensorProto.FLOAT, ["N", 32, 32, 3]))
    wanted = own_logits(model, bgr=True)
    assert np.abs(wanted - own_logits(model)).max() > 0.05 * np.ptp(wanted), "the order makes no difference here"
    bundle = assert_bundles_give(load(model, channels="bgr"), wanted, tmp_path)
    assert bundle.manifest.normalization == Normalization(MEAN, STD, channels="bgr")


def test_a_caller_that_normalises_for_a_bgr_file_reverses_the_channels_too(load: Load, tmp_path: Path) -> None:
    from edgeclf_runtime.bundle.manifest import to_input

    (exported,) = export(load(build(), channels="bgr"), ExportOptions(output=tmp_path, form="float-nchw"))
    manifest = Bundle.open(exported.path).manifest
    assert exported.proof.verdict == "pass" and manifest.normalization is not None
    with open_session(exported.path) as session:
        found = session(to_input(IMAGES, manifest.normalization))
    assert np.allclose(found, own_logits(build(), bgr=True), atol=1e-4)


def half(*, inside_only: bool) -> Any:
    """A network of float16, or one of float32 outside that computes in float16."""
    if not inside_only:
        kind = TensorProto.FLOAT16
        return build(entry=(kind, ["N", 3, 32, 32]), outputs={"logits": (kind, ["N", 5])}, floats=np.float16)
    return build(
        helper.make_node("Cast", ["logits"], ["wide"], to=TensorProto.FLOAT),
        starts=(helper.make_node("Cast", ["input"], ["narrow"], to=TensorProto.FLOAT16),),
        first="narrow",
        outputs={"wide": (TensorProto.FLOAT, ["N", 5])},
        floats=np.float16,
    )


@pytest.mark.parametrize("inside_only", [False, True])
def test_float16_is_converted_to_float32_and_reported(inside_only: bool, load: Load, tmp_path: Path) -> None:
    model = half(inside_only=inside_only)
    exportable = load(model)
    assert exportable.notes[0].startswith(
        "it computes in float16: its bundles are made from the same weights in float32"
    )
    wanted = own_logits(model, output="wide" if inside_only else "logits")
    bundle = assert_bundles_give(exportable, wanted, tmp_path, tolerance=0.01)
    assert bundle.manifest.weights_precision == "fp32"


def test_float16_before_a_softmax_and_a_cast_is_cut_to_logits(load: Load, tmp_path: Path) -> None:
    model = half(inside_only=True)
    model.graph.node.insert(6, helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    model.graph.node[-1].input[0] = "scores"
    wanted = own_logits(half(inside_only=True), output="wide")
    assert_bundles_give(load(model), wanted, tmp_path, tolerance=0.01)


def test_nodes_in_any_order_are_accepted_as_by_onnxruntime(load: Load, tmp_path: Path) -> None:
    model = half(inside_only=True)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[3:], *nodes[:3]])
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(model)
    assert_bundles_give(load(model), own_logits(model, output="wide"), tmp_path, tolerance=0.01)


def test_nodes_in_a_cycle_are_refused(load: Load) -> None:
    model = build()
    model.graph.node[0].input[0] = "kept"
    with pytest.raises(DataError, match="no valid ONNX model"):
        load(model)


def test_float64_is_converted_to_float32(load: Load, tmp_path: Path) -> None:
    kind = TensorProto.DOUBLE
    model = build(entry=(kind, ["N", 3, 32, 32]), outputs={"logits": (kind, ["N", 5])}, floats=np.float64)
    exportable = load(model)
    assert exportable.notes[0].endswith("in float32, for onnxruntime can't compute its own logits")
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    single = build(more={name: array.astype(np.float32) for name, array in weights.items()})
    assert_bundles_give(exportable, own_logits(single), tmp_path)


def test_float64_that_onnxruntime_runs_is_compared_with_its_own_logits(load: Load, tmp_path: Path) -> None:
    model = build(
        helper.make_node("Cast", ["logits"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["double", "wide"], ["out"]),
        more={"wide": np.random.default_rng(2).normal(size=(5, 5))},
        outputs={"out": (TensorProto.DOUBLE, ["N", 5])},
    )
    exportable = load(model)
    assert exportable.notes[0].startswith("it computes in float64") and exportable.notes[0].endswith("its own logits")
    assert_bundles_give(exportable, own_logits(model, output="out"), tmp_path)


def test_a_network_that_needs_its_own_float64_is_refused(load: Load) -> None:
    model = build(
        helper.make_node("Cast", ["logits"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["double", "far"], ["there"]),
        helper.make_node("Sub", ["there", "far"], ["back"]),
        more={"far": np.array([1e9], np.float64)},
        outputs={"back": (TensorProto.DOUBLE, ["N", 5])},
    )
    with pytest.raises(DataError, match="its logits in float32 differ from those in its own float64: logits differ by"):
        load(model)


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("NHWC", "bgr"),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("NCHW", "bgr"), ("NHWC", "rgb"), ("NCHW", "rgb"))),
    ],
)
def test_uint8_pixels_are_passed_in_unchanged(layout: str, channels: str, load: Load, tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["input"], ["float"], to=TensorProto.FLOAT)
    scaled = helper.make_node("Mul", ["float", "factor"], ["scaled"])
    turn = helper.make_node("Transpose", ["scaled"], ["turned"], perm=[0, 3, 1, 2])
    turned = layout == "NHWC"
    model = build(
        starts=(cast, scaled, turn) if turned else (cast, scaled),
        first="turned" if turned else "scaled",
        entry=(TensorProto.UINT8, ["N", 32, 32, 3] if turned else ["N", 3, 32, 32]),
        more={"factor": np.array(1 / 255, np.float32)},
    )
    exportable = load(model, normalization=None, channels=channels)
    bundle = assert_bundles_give(exportable, own_logits(model, bgr=channels == "bgr", raw=True), tmp_path)
    assert bundle.manifest.normalization == Normalization((0, 0, 0), (1 / 255,) * 3, channels=channels)
    with pytest.raises(UsageError, match="takes uint8 pixels, so normalisation is inside it already; leave out"):
        load(model)
    with pytest.raises(UsageError, match="this ONNX file takes uint8 pixels; --input float-nchw needs"):
        list(export(exportable, ExportOptions(output=tmp_path / "floats", form="float-nchw")))


def test_a_float_file_without_mean_and_std_asks_for_them(load: Load) -> None:
    with pytest.raises(UsageError, match="how pixels are normalised is not known; give --mean R,G,B and --std R,G,B"):
        load(build(), normalization=None)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (TensorProto.INT8, ["N", 3, 32, 32], r"found int8 \(\?, 3, 32, 32\); images of int8 are not supported"),
        (
            TensorProto.INT64,
            ["N", 3, 32, 32],
            "images of int64 are not supported; export it again with an input of float",
        ),
        (TensorProto.FLOAT, ["N", 1, 32, 32], r"it takes one channel \(grey\), images have 3 \(RGB\)"),
        (TensorProto.FLOAT, ["N", 32, 32, 1], r"it takes one channel \(grey\)"),
        (TensorProto.FLOAT, ["N", 4, 32, 32], "it takes 4 channels, images have 3"),
        (TensorProto.FLOAT, ["N", 3, 64, 64], "give its side with --img-size 64"),
        (TensorProto.FLOAT, ["N", 64, 64, 3], "give its side with --img-size 64"),
        (TensorProto.FLOAT, ["N", 3, 48, 64], "its images are 64x48, only square ones are supported"),
        (TensorProto.FLOAT, ["N", 3072], "an input of 2 dimensions is no batch of images"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_input_is_reported(kind: int, shape: list[Any], message: str, load: Load) -> None:
    entry = helper.make_tensor_value_info("input", kind, shape)
    node = helper.make_node("Identity", ["input"], ["logits"])
    value = helper.make_tensor_value_info("logits", kind, shape)
    model = helper.make_model(helper.make_graph([node], "odd", [entry], [value]), ir_version=8)
    model.opset_import[0].version = 17
    with pytest.raises(DataError, match=f"theirs.onnx: wanted float .*{message}"):
        load(model)


ARGMAX = helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0)
BEST = (TensorProto.INT64, ["N"])
LOGITS = (TensorProto.FLOAT, ["N", 5])


def test_a_label_output_before_the_logits_is_skipped_and_reported(load: Load, tmp_path: Path) -> None:
    exportable = load(build(ARGMAX, outputs={"best": BEST, "logits": LOGITS}))
    assert exportable.notes == (
        "of its outputs best int64 (?), logits float (?, 5), logits was taken; --output-name takes another",
    )
    assert_bundles_give(exportable, own_logits(build()), tmp_path)


def test_a_lone_label_output_is_replaced_by_its_scores(load: Load, tmp_path: Path) -> None:
    exportable = load(build(ARGMAX, outputs={"best": BEST}))
    assert exportable.notes == ("the output best only names classes: the scores logits before it were taken",)
    assert_bundles_give(exportable, own_logits(build()), tmp_path)


def two_heads() -> Any:
    other = helper.make_node("Gemm", ["features", "other", "bias"], ["aux"])
    weights = np.random.default_rng(7).normal(size=(6, 5)).astype(np.float32)
    return build(other, outputs={"aux": LOGITS, "logits": LOGITS}, more={"other": weights})


def test_of_two_outputs_of_the_same_width_one_has_to_be_chosen(load: Load, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"choose with --output-name one of aux float \(\?, 5\), logits float \(\?, 5\)"
    ):
        load(two_heads())
    for name in ("aux", "logits"):
        exportable = load(two_heads(), output=name)
        assert exportable.notes == ()
        assert_bundles_give(exportable, own_logits(two_heads(), output=name), tmp_path, force=True)


def test_an_output_that_does_not_exist_is_refused_with_those_that_do(load: Load) -> None:
    with pytest.raises(
        UsageError, match=r"has no output 'scores'; --output-name takes one of aux float .*, logits flo"
    ):
        load(two_heads(), output="scores")


@pytest.mark.parametrize("first", [pytest.param("logits", marks=pytest.mark.slow), "scores"])
def test_logits_beside_their_own_softmax_are_one_output(first: str, load: Load, tmp_path: Path) -> None:
    names = (first, "logits" if first == "scores" else "scores")
    model = build(helper.make_node("Sigmoid", ["logits"], ["scores"]), outputs=dict.fromkeys(names, LOGITS))
    exportable = load(model)
    assert exportable.scores == "sigmoid"
    assert_bundles_give(exportable, own_logits(build()), tmp_path)


def test_of_softmax_and_sigmoid_of_the_same_logits_one_has_to_be_chosen(load: Load) -> None:
    ends = [helper.make_node(kind, ["logits"], [kind.lower()]) for kind in ("Sigmoid", "Softmax")]
    model = build(*ends, outputs={"sigmoid": LOGITS, "softmax": LOGITS})
    with pytest.raises(UsageError, match=r"choose with --output-name one of sigmoid .*, softmax"):
        load(model)
    assert load(model, output="softmax").scores == "softmax"


def test_an_output_without_a_batch_dimension_is_refused(load: Load) -> None:
    flat = helper.make_node("Squeeze", ["logits", "first"], ["flat"])
    entry = (TensorProto.FLOAT, [1, 3, 32, 32])
    outputs = {"flat": (TensorProto.FLOAT, [5])}
    with pytest.raises(DataError, match=r"found flat float \(5\): it has no batch dimension; export it again with"):
        load(build(flat, outputs=outputs, entry=entry, more={"first": np.array([0])}))


def test_behind_a_zipmap_and_string_labels_the_scores_are_found(load: Load, tmp_path: Path) -> None:
    """As skl2onnx and CatBoost write them: the label as text, and a map from label to probability."""
    names = [name.encode() for name in FRUIT]
    model = build(
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["best"], ["label"], domain="ai.onnx.ml", keys_int64s=list(range(5)), values_strings=names
        ),
        helper.make_node("ZipMap", ["scores"], ["map"], domain="ai.onnx.ml", classlabels_strings=names),
        domains=("ai.onnx.ml",),
        outputs={"label": (TensorProto.STRING, ["N"])},
    )
    model.opset_import[-1].version = 3
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output.append(helper.make_value_info("map", helper.make_sequence_type_proto(kind)))
    exportable = load(model)
    assert "before it were taken" in exportable.notes[0]
    assert_bundles_give(exportable, own_logits(build()), tmp_path)


def test_outputs_of_which_none_has_logits_are_named_with_their_types(load: Load) -> None:
    model = build(outputs={"features": (TensorProto.FLOAT, ["N", 6]), "logits": LOGITS})
    with pytest.raises(DataError) as failure:
        load(model, labels=("a", "b", "c"))
    assert str(failure.value).endswith(
        "none of its outputs has a logit for each of 3 labels ('a', 'b', 'c'): "
        "features float (?, 6), logits float (?, 5)"
    )


@pytest.mark.parametrize("labels", [("yes",), ("no", "yes")])
def test_a_file_with_one_logit_is_refused_as_a_binary_classifier(labels: tuple[str, ...], load: Load) -> None:
    with pytest.raises(
        DataError, match=r"gives one number for each image \(logits float \(\?, 1\)\), as a binary classif"
    ):
        load(build(classes=1), labels=labels)


def test_logits_with_sides_of_one_pixel_are_flattened(load: Load, tmp_path: Path) -> None:
    kernel = np.random.default_rng(3).normal(size=(5, 6, 1, 1)).astype(np.float32)
    model = build(
        helper.make_node("Conv", ["pooled", "point"], ["map"]),
        more={"point": kernel},
        outputs={"map": (TensorProto.FLOAT, ["N", 5, 1, 1])},
    )
    assert_bundles_give(load(model), own_logits(model, output="map"), tmp_path)


def softmax_of_opset_11(load: Load) -> Any:
    """Written by opset 11, where a softmax flattens what it gets; conversion spells that out."""
    return build(
        helper.make_node("Unsqueeze", ["logits"], ["pixel"], axes=[2]),
        helper.make_node("Softmax", ["pixel"], ["scores"]),
        helper.make_node("Squeeze", ["scores"], ["flat"], axes=[2]),
        outputs={"flat": LOGITS},
        opset=11,
    )


def test_a_softmax_that_conversion_decomposed_is_cut_off(load: Load, tmp_path: Path) -> None:
    model = softmax_of_opset_11(load)
    operators = [node.op_type for node in onnx.version_converter.convert_version(model, 20).graph.node]
    assert operators[-5:-1].count("Reshape") + operators.count("Flatten") >= 2, "conversion leaves it as it is"
    exportable = load(model)
    assert exportable.scores == "softmax"
    assert_bundles_give(exportable, own_logits(build()), tmp_path)


def test_a_softmax_over_the_batch_is_refused(load: Load) -> None:
    model = build(helper.make_node("Softmax", ["logits"], ["scores"], axis=0), outputs={"scores": LOGITS})
    with pytest.raises(DataError, match="its last softmax is not over its classes; export it without its last activ"):
        load(model)


def optimised(model: Any, level: str, folder: Path) -> Any:
    """The file as ONNX Runtime itself writes it."""
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    settings.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def test_a_file_that_onnxruntime_optimised_is_accepted(load: Load, tmp_path: Path) -> None:
    wide = np.random.default_rng(5).normal(size=(5, 5)).astype(np.float32)
    relu, last = helper.make_node("Relu", ["logits"], ["hidden"]), helper.make_node("Gemm", ["hidden", "wide"], ["out"])
    model = build(relu, last, more={"wide": wide}, outputs={"out": LOGITS})
    fused = optimised(model, "EXTENDED", tmp_path)
    assert {"FusedConv", "FusedGemm"} & {node.op_type for node in fused.graph.node}
    (exported,) = export(load(fused), ExportOptions(output=tmp_path))
    assert exported.proof.verdict == "pass"
    with open_session(exported.path) as session:
        assert np.allclose(session(IMAGES), own_logits(model, output="out"), atol=1e-4)


def test_a_file_optimised_for_one_processor_is_refused(load: Load) -> None:
    model = build(domains=("com.microsoft.nchwc",))
    model.graph.node.append(helper.make_node("Conv", ["seen", "kernel"], ["own"], domain="com.microsoft.nchwc"))
    with pytest.raises(DataError, match="was optimised by ONNX Runtime for the processor that wrote it"):
        load(model)
