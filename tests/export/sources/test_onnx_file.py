"""ONNX files from elsewhere: what is accepted, what is refused, and that a bundle gives the file's own logits."""

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
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session

Load = Callable[..., Any]


def build(
    *,
    layout: str = "NCHW",
    batch: int | str = "N",
    end: str | None = None,
    opset: int = 17,
    ir_version: int = 8,
    input_name: str = "input",
    reshape: tuple[int, ...] | None = None,
    more_outputs: bool = False,
    operator: str | None = None,
) -> Any:
    """A convolution, a global pooling and a linear layer of 5 classes."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(size=(6, 3, 5, 5)).astype(np.float32),
        "head": (4 * random.normal(size=(6, 5))).astype(np.float32),
        "bias": random.normal(size=5).astype(np.float32),
        "flat": np.array(reshape or (0, 6), dtype=np.int64),
    }
    nodes, first = [], input_name
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [first], ["turned"], perm=[0, 3, 1, 2]))
        first = "turned"
    if operator is not None:
        nodes.append(helper.make_node(operator, [first], ["odd"], name="the_odd_one"))
        first = "odd"
    nodes += [
        helper.make_node("Conv", [first, "kernel"], ["seen"], strides=[2, 2]),
        helper.make_node("Relu", ["seen"], ["kept"]),
        helper.make_node("GlobalAveragePool", ["kept"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["raw"]),
    ]
    last = "raw"
    if end is not None:
        nodes.append(helper.make_node(end, [last], ["scores"], **({"axis": 1} if end == "Softmax" else {})))
        nodes.append(helper.make_node("Identity", ["scores"], ["named"]))
        last = "named"
    shape = [batch, 3, 32, 32] if layout == "NCHW" else [batch, 32, 32, 3]
    outputs = {last: 5, **({"features": 6} if more_outputs else {})}
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size]) for name, size in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
        doc_string="made in /home/somebody/secret",
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


@pytest.fixture
def load(pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...], tmp_path: Path) -> Load:
    def load(
        model: Any, normalization: Normalization = normalization, labels: Any = fruit, pixels: Pixels = pixels
    ) -> Any:
        path = tmp_path / "theirs.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return load_onnx_classifier(path, labels=labels, pixels=pixels, normalization=normalization)

    return load


def own_logits(model: Any, images: NDArray[np.uint8], mean: Any, std: Any) -> NDArray[np.float32]:
    """The file's own logits for images that numpy normalised in double precision."""
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    floats = ((images / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    entry = session.get_inputs()[0]
    if entry.shape[1] == 3:
        floats = floats.transpose(0, 3, 1, 2)
    size = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    floats = np.concatenate([floats, floats[: -len(floats) % size]])
    return np.concatenate(
        [session.run(None, {entry.name: floats[i : i + size]})[0] for i in range(0, len(floats), size)]
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "NHWC"},
        {"batch": 1, "reshape": (1, 6)},
        {"batch": 4},
        pytest.param({"batch": 4, "layout": "NHWC"}, marks=pytest.mark.slow),
        pytest.param({"input_name": "images"}, marks=pytest.mark.slow),  # our own names
        {"input_name": "logits"},
        {"opset": 11, "ir_version": 6},
        pytest.param({"opset": 21, "ir_version": 10}, marks=pytest.mark.slow),
        {"more_outputs": True},
    ],
    ids=str,
)
def test_its_bundles_give_the_logits_of_the_file(options: dict[str, Any], load: Load, tmp_path: Path) -> None:
    model = build(**options)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    exportable = load(model, Normalization(mean, std))
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    wanted = own_logits(model, images, mean, std)[:5]
    for exported in export(exportable, ExportOptions(("onnx", "openvino"), output=tmp_path)):
        assert exported.proof.verdict == "pass"
        assert exported.path.name.startswith("theirs-")
        bundle = Bundle.open(exported.path)
        assert bundle.manifest.inputs[0].shape == (options.get("batch", "batch"), 32, 32, 3)
        with open_session(bundle) as session:
            assert np.abs(session(images) - wanted).max() < 1e-4 * np.ptp(wanted)
        assert verify(bundle).verdict == "pass"


@pytest.mark.parametrize(("end", "scores"), [("Softmax", "softmax"), ("Sigmoid", "sigmoid")])
def test_an_activation_at_the_end_is_cut_off_and_recorded(end: str, scores: str, load: Load, tmp_path: Path) -> None:
    exportable = load(build(end=end))
    (exported,) = export(exportable, ExportOptions(output=tmp_path))
    assert Bundle.open(exported.path).manifest.scores == scores
    assert end not in {node.op_type for node in onnx.load(exported.path / "model.onnx").graph.node}
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    normalization = exportable.normalization
    wanted = own_logits(build(), images, normalization.mean, normalization.std)
    with open_session(exported.path) as session:
        assert np.abs(session(images) - wanted).max() < 1e-4 * np.ptp(wanted)


@pytest.mark.parametrize("total", [1, 100])
def test_probabilities_from_inside_the_graph_are_refused(total: int, load: Load) -> None:
    model = build(end="Softmax")
    model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["scores", "one"], ["named"]))
    model.graph.initializer.append(numpy_helper.from_array(np.full(1, total, np.float32), "one"))
    with pytest.raises(DataError, match=r"theirs\.onnx: gives probabilities, wanted logits"):
        load(model)


def test_float_nchw_leaves_the_normalisation_to_the_caller(load: Load, tmp_path: Path) -> None:
    (exported,) = export(load(build()), ExportOptions(output=tmp_path, form="float-nchw"))
    assert exported.proof.verdict == "pass"
    assert Bundle.open(exported.path).manifest.inputs[0].shape == ("batch", 3, 32, 32)
    with pytest.raises(UsageError, match="--input float-nchw needs one that takes"):
        list(export(load(build(layout="NHWC")), ExportOptions(output=tmp_path, form="float-nchw", force=True)))


def test_nothing_about_the_machine_that_made_it_is_in_the_bundle(load: Load, tmp_path: Path) -> None:
    (exported,) = export(load(build()), ExportOptions(output=tmp_path))
    for file in exported.path.rglob("*"):
        assert file.is_dir() or b"somebody" not in file.read_bytes()


def test_fp16_of_an_onnx_file(load: Load, tmp_path: Path) -> None:
    for exported in export(load(build()), ExportOptions(("onnx", "openvino"), "fp16", output=tmp_path)):
        assert exported.proof.verdict == "pass" and exported.weights_precision == "fp16"


def test_an_onnx_file_has_no_pytorch_bundle(load: Load, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an ONNX file or a text encoder has none: choose onnx or openvino"):
        list(export(load(build()), ExportOptions(("pytorch",), output=tmp_path)))


def external() -> Any:
    model = build()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")
    return model


def two_inputs() -> Any:
    model = build()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (external, r"external data"),
        (lambda: b"", "empty"),
        (lambda: b"hello " * 50, "not an ONNX file, or a truncated one|no valid ONNX model"),
        (lambda: build().SerializeToString()[:-40], "not an ONNX file, or a truncated one|no valid ONNX model"),
        (two_inputs, r"wanted one input, found input float \(\?, 3, 32, 32\), mask float \(1\)"),
        (lambda: build(reshape=(1, 6)), "can't run a batch of more than one image, which its input allows"),
        (lambda: build(operator="Det"), "onnxruntime can't load it|can't run a batch"),
    ],
    ids=["external", "empty", "garbage", "truncated", "two-inputs", "batch-of-one", "operator"],
)
def test_a_file_that_is_no_such_classifier_is_refused(model: Callable[[], Any], message: str, load: Load) -> None:
    with pytest.raises(DataError, match=f"theirs.onnx.*({message})") as failure:
        load(model())
    assert "\n" not in str(failure.value)


def newer(**versions: int) -> Any:
    model = build()
    model.opset_import[0].version = versions.get("opset", model.opset_import[0].version)
    model.ir_version = versions.get("ir", model.ir_version)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (newer(opset=99), r"is of opset 99 \(IR version \d+\), newer than the onnx package here supports"),
        (
            newer(ir=99),
            r"\(IR version 99\), newer than the onnx package here supports .*; export it again with opset 13 to",
        ),
    ],
)
def test_a_file_newer_than_onnx_says_so(model: Any, message: str, load: Load) -> None:
    with pytest.raises(DataError, match=message):
        load(model)


def test_an_output_without_a_shape_is_accepted_and_such_an_input_is_refused(load: Load) -> None:
    model = build()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(load(model).run_reference(images), load(build()).run_reference(images))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(DataError, match=r"does not state the shape of its input .*; export it again with its shape"):
        load(model)


def test_another_img_size_is_refused_with_the_files_own(load: Load) -> None:
    with pytest.raises(
        DataError, match=r"wanted float \(N, 3, 48, 48\).*found float \(\?, 3, 32, 32\); give its side with --img"
    ):
        load(build(), pixels=Pixels("shorter", (48, 48), (48, 48)))


def test_another_number_of_labels_is_refused_with_both_counts(load: Load) -> None:
    with pytest.raises(
        DataError, match=r"wanted a logit for each of 3 labels \('a', 'b', 'c'\), found raw float \(\?, 5\)"
    ):
        load(build(), labels=("a", "b", "c"))


def test_an_operator_that_openvino_lacks_is_named_with_an_alternative(load: Load, tmp_path: Path) -> None:
    model = build()
    model.graph.node.insert(0, helper.make_node("Det", ["input"], ["volume"], name="the_odd_one"))
    model.graph.node.append(helper.make_node("ReduceMean", ["volume"], ["level"], axes=[1], keepdims=1))
    model.graph.node.append(helper.make_node("Add", ["raw", "level"], ["sum"]))
    model.graph.output[0].name = "sum"
    exportable = load(model)
    with pytest.raises(BackendError, match=r"OpenVINO can't take this model \([\w ]+ operations: Det") as failure:
        list(export(exportable, ExportOptions(("openvino",), output=tmp_path / "out")))
    assert str(failure.value).endswith("export it to onnx instead") and not list((tmp_path / "out").iterdir())
    (exported,) = export(exportable, ExportOptions(("onnx",), output=tmp_path / "out"))
    assert exported.proof.verdict == "pass"


def test_a_graph_that_normalises_differently_than_stated_fails_its_proof(load: Load, tmp_path: Path) -> None:
    from dataclasses import replace

    stated, other = load(build()), load(build(), Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.255)))
    with pytest.raises(GateError, match="logits differ by"):
        list(export(replace(stated, make_onnx=other.make_onnx), ExportOptions(output=tmp_path / "out")))
