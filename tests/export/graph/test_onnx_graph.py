"""The ONNX graph: what bundles promise about the one file that every engine's model is made from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.session import open_session

CNNS = (
    "test_resnet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_efficientnet", "torchvision/squeezenet1_1")),
)


@pytest.fixture(params=[*CNNS, pytest.param("test_vit", marks=pytest.mark.check)])
def bundle(request: pytest.FixtureRequest, make: Callable[..., Mapping[str, Path]]) -> Path:
    return make(request.param)["onnx"]


def read(bundle: Path) -> Any:
    return onnx.load(bundle / "model.onnx", load_external_data=False)


def test_it_takes_uint8_pixels_of_any_batch_and_gives_float_logits(bundle: Path) -> None:
    graph = read(bundle).graph
    (entry,), (output,) = graph.input, graph.output
    assert (entry.name, entry.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim] == ["batch", 64, 64, 3]
    assert (output.name, output.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)
    assert [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim] == ["batch", 5]


def test_it_has_an_opset_and_ir_version_that_old_devices_read(bundle: Path) -> None:
    model = read(bundle)
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx"}
    assert 18 <= model.opset_import[0].version <= 20
    assert model.ir_version <= 10


@pytest.mark.parametrize("opset", [*(pytest.param(each, marks=pytest.mark.slow) for each in (18, 19)), 20])
def test_it_has_the_opset_that_was_asked_for(opset: int, small: Exportable) -> None:
    model = onnx.load_from_string(small.make_onnx("uint8-nhwc", opset))
    assert model.opset_import[0].version == opset


@pytest.mark.parametrize("opset", [17, 21])
def test_another_opset_is_refused(opset: int) -> None:
    with pytest.raises(UsageError, match=f"opset must be 18 to 20.*found {opset}"):
        ExportOptions(opset=opset)


def test_it_is_one_file_without_doc_strings_or_local_paths(bundle: Path) -> None:
    assert not list(bundle.glob("*.data"))
    model, data = read(bundle), (bundle / "model.onnx").read_bytes()
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    for item in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.initializer,
    ):
        assert not item.doc_string and not item.metadata_props
    texts = [*(node.name for node in model.graph.node), *(tensor.name for tensor in model.graph.initializer)]
    assert not [text for text in texts if "/" in text]
    for place in (Path.home(), Path.cwd(), Path(onnx.__file__).parents[1]):
        assert os.fsencode(place) not in data
    assert b".py" not in data


def test_the_cast_comes_first_so_that_tensorrt_takes_it(bundle: Path) -> None:
    takers = [node.op_type for node in read(bundle).graph.node if "images" in node.input]
    assert [kind for kind in takers if kind != "Shape"] == ["Cast"]  # a ViT computes how many class tokens to add


@pytest.mark.parametrize("backbone", CNNS)
def test_a_cnn_carries_no_shape_arithmetic(backbone: str, make: Callable[..., Mapping[str, Path]]) -> None:
    found = Counter(node.op_type for node in read(make(backbone)["onnx"]).graph.node)
    assert not set(found) & {
        "Gather",
        "Range",
        "Shape",
        "Slice",
        "Concat",
        "Expand",
        "ConstantOfShape",
        "If",
        "Loop",
    } - (
        {"Concat"} if "squeezenet" in backbone else set()  # its fire modules join two branches
    )
    assert found["Transpose"] == 1


def test_every_batch_size_gives_the_same_logits(bundle: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    with open_session(bundle, SessionOptions(threads=1)) as session:
        alone = np.concatenate([session(images[i : i + 1]) for i in range(5)])
        pair, together = session(images[:2]), session(images)
    spread = np.ptp(alone)
    assert np.abs(together - alone).max() < 1e-5 * spread
    assert np.abs(pair - alone[:2]).max() < 1e-5 * spread


@pytest.mark.parametrize("target", ["onnx", "openvino", "pytorch"])
def test_float_nchw_serves_consumers_that_normalise_themselves(
    target: str, small: Exportable, load: Callable[[str], Exportable], tmp_path: Path
) -> None:
    exportable = load("test_resnet") if target == "pytorch" else small  # the one needs a builder, the others a graph
    (made,), (plain,) = (
        export(exportable, ExportOptions((target,), output=tmp_path / form, form=form))
        for form in ("float-nchw", "uint8-nhwc")
    )
    side = exportable.pixels.crop_px[0]
    if target == "onnx":
        entry = read(made.path).graph.input[0].type.tensor_type
        assert entry.elem_type == onnx.TensorProto.FLOAT
        assert [d.dim_param or d.dim_value for d in entry.shape.dim] == ["batch", 3, side, side]
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    with open_session(made.path) as session, open_session(plain.path) as other:
        manifest = Bundle.open(made.path).manifest
        assert manifest.inputs[0].layout == "NCHW" and manifest.normalization is not None
        assert manifest.normalization.applied_by == "caller"
        logits, wanted = session(to_input(images, manifest.normalization)), other(images)
    assert np.abs(logits - wanted).max() < 1e-4 * np.ptp(wanted)


def test_the_same_export_twice_gives_the_same_bytes(small: Exportable, real_export: None) -> None:
    assert small.make_onnx("uint8-nhwc", 18) == small.make_onnx("uint8-nhwc", 18)


@pytest.mark.slow
def test_a_backbone_that_is_loaded_twice_gives_the_same_bytes(
    load: Callable[[str], Exportable], real_export: None
) -> None:
    from edgeclf_export.sources.backbones import load_backbone

    again = load_backbone("test_resnet", "random", labels=load("test_resnet").labels, img_size=64)
    assert again.make_onnx("uint8-nhwc", 18) == load("test_resnet").make_onnx("uint8-nhwc", 18)


@pytest.mark.slow
def test_branches_for_training_are_folded_and_the_proof_still_holds(
    load: Callable[[str], Exportable], tmp_path: Path
) -> None:
    exportable = load("repvit_m1")
    (exported,) = export(exportable, ExportOptions(output=tmp_path))
    assert exported.proof.verdict == "pass" and exported.proof.comparison.max_relative > 0
    kinds = Counter(node.op_type for node in read(exported.path).graph.node)
    assert exportable.state is not None
    assert kinds["Conv"] < sum(tensor.dim() == 4 for tensor in exportable.state.values())
