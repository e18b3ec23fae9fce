"""The tensorrt target: a portable bundle, its proof and checks, from a model, a bundle or an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import Exported, export
from edgeclf_export.graph import casting
from edgeclf_export.options import ExportOptions
from edgeclf_export.targets.tensorrt import target as trt
from edgeclf_export.targets.tensorrt.graph_session import ABOUT
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.library import Library
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, parse_manifest
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, BundleError, GateError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session

Load = Callable[[str], Exportable]
FAMILIES = (
    "test_resnet",  # residual
    "test_efficientnet",  # squeeze-excite, SiLU
    "test_vit",  # attention
    "test_convnext",  # LayerNorm over channels
    "mobilenetv3_small_050",  # hard-swish, hard-sigmoid
    "torchvision/squeezenet1_1",  # fire modules, no linear layer
)
# a family costs an export and seconds of TensorRT-RTX
MARKS = {("test_resnet", "fp32"): [], ("test_vit", "fp16"): [pytest.mark.check]}


def prepare(exportable: Exportable, folder: Path, precision: str = "fp32", **options: Any) -> Exported:
    (exported,) = export(exportable, ExportOptions(("tensorrt",), precision, output=folder, **options))
    return exported


def manifest_of(folder: Path) -> Manifest:
    return parse_manifest((folder / MANIFEST).read_bytes(), str(folder))


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        pytest.param(family, precision, marks=MARKS.get((family, precision), [pytest.mark.slow]))
        for family in FAMILIES
        for precision in ("fp32", "fp16")
    ],
)
def test_one_of_each_family_is_parsed_and_built_by_tensorrt_rtx(
    family: str, precision: str, load: Load, rtx: Library, tmp_path: Path
) -> None:
    exported = prepare(load(family), tmp_path, precision)
    assert exported.checks[0] == "linted for TensorRT: nothing found"
    assert f"parsed and built by TensorRT-RTX {rtx.version} in " in exported.checks[1]
    assert exported.proof.verdict == "pass"


@pytest.mark.parametrize("family", ["test_resnet", pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow)])
def test_bf16_is_parsed_and_built_too_and_the_devices_without_it_are_named(
    family: str, load: Load, rtx: Library, tmp_path: Path
) -> None:
    exported = prepare(load(family), tmp_path, "bf16")
    assert "parsed and built by TensorRT-RTX" in exported.checks[1]
    assert "not for TensorRT 10.3 (JetPack 6)" in exported.checks[2]
    assert exported.proof.verdict == "pass"


def test_without_tensorrt_rtx_the_bundle_records_that_it_was_not_parsed(
    load: Load, without_rtx: None, tmp_path: Path
) -> None:
    exported = prepare(load("test_resnet"), tmp_path)
    assert exported.checks == manifest_of(exported.path).checks
    assert "not parsed by TensorRT" in exported.checks[1] and "edgeclf[tensorrt-rtx]" in exported.checks[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_bundle_is_portable_and_its_proof_says_what_it_proves(
    precision: str, load: Load, without_rtx: None, tmp_path: Path
) -> None:
    exported = prepare(load("test_resnet"), tmp_path, precision)
    manifest = manifest_of(exported.path)
    assert exported.path.name == f"test_resnet-tensorrt-{precision}"
    assert (manifest.target, manifest.state, manifest.built_on) == ("tensorrt", "portable", None)
    assert manifest.weights_precision == manifest.compute_precision == precision
    assert manifest.proof is not None and manifest.proof.verdict == "pass"
    assert manifest.proof.reasons == (ABOUT,)
    assert manifest.proof.machine["engine"] == "onnxruntime" and manifest.proof.compute_precision == "fp32"
    assert {"model.onnx", "build.json"} <= set(manifest.files)


def test_the_runtime_does_not_run_a_portable_bundle(load: Load, without_rtx: None, tmp_path: Path) -> None:
    exported = prepare(load("test_resnet"), tmp_path)
    with pytest.raises(BackendError, match="portable"):
        open_session(exported.path)
    with pytest.raises(BackendError, match="portable"):
        verify(Bundle.open(exported.path))


def test_the_build_settings_of_the_engine_are_in_the_bundle(load: Load, without_rtx: None, tmp_path: Path) -> None:
    from edgeclf_runtime.deploy.build import settings_of

    settings = BuildSettings(opt_batch=4, max_batch=8, workspace_mib=512, tf32=True)
    exported = prepare(load("test_resnet"), tmp_path, engine=settings)
    assert settings_of(Bundle.open(exported.path)) == settings


def test_tensorrt_rtx_is_built_for_the_same_batches(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def build_plan(model: bytes, where: str, settings: BuildSettings, library: object) -> object:
        batches.append(settings.max_batch)
        raise BundleError(f"{where}: refused")

    monkeypatch.setattr(trt, "import_rtx", lambda: object())
    monkeypatch.setattr(trt, "build_plan", build_plan)
    with pytest.raises(BundleError, match="the prepared graph: refused"):
        prepare(load("test_resnet"), tmp_path, engine=BuildSettings(max_batch=3))
    assert batches == [3]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_faulty_cast_fails_the_export(
    precision: str, load: Load, without_rtx: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = getattr(casting, f"_as_{precision}")

    def faulty(values: NDArray[np.float32]) -> Any:
        return rounded(values * np.float32(1.5) if values.ndim > 1 else values)

    monkeypatch.setattr(casting, f"_as_{precision}", faulty)
    with pytest.raises(GateError, match=f"test_resnet-tensorrt-{precision} differs from its reference: engine: logits"):
        prepare(load("test_resnet"), tmp_path, precision)
    assert [path.name for path in tmp_path.iterdir()] == [f"test_resnet-tensorrt-{precision}.failed"]


def test_an_operator_that_tensorrt_lacks_is_refused_with_its_node_and_an_alternative(
    fruit: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(BackendError) as refused:
        prepare(as_exportable(folding_model(), (32, 32), fruit, tmp_path), tmp_path / "out")
    message = str(refused.value)
    assert "Col2Im" in message and "instead: ConvTranspose or DepthToSpace" in message and "\n" not in message


def folding_model() -> bytes:
    """(N, 3, 32, 32) floats -> 5 logits: as torch exports a `fold` of overlapping patches."""
    from onnx import TensorProto, helper, numpy_helper

    arrays = {"rows": [0, 3, -1], "start": [0], "patches": [49], "classes": [5], "last": [2], "second": [1]}
    arrays |= {"sides": [9, 9], "block": [3, 3]}
    nodes = [
        helper.make_node("Reshape", ["input", "rows"], ["flat"]),
        helper.make_node("Slice", ["flat", "start", "patches", "last"], ["some"]),
        helper.make_node("Concat", ["some", "some", "some"], ["columns"], axis=1),
        helper.make_node("Col2Im", ["columns", "sides", "block"], ["folded"], name="the_fold"),
        helper.make_node("Flatten", ["folded"], ["values"]),
        helper.make_node("Slice", ["values", "start", "classes", "second"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "folding",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.array(value, dtype=np.int64), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def as_exportable(model: bytes, sides: tuple[int, int], labels: tuple[str, ...], folder: Path) -> Exportable:
    """An ONNX file as the exporter takes it."""
    from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier

    path = folder / "theirs.onnx"
    path.write_bytes(model)
    return load_onnx_classifier(
        path,
        labels=labels,
        pixels=Pixels("exact", sides, sides),
        normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )


def test_float_input_is_prepared_as_well(small: Exportable, without_rtx: None, tmp_path: Path) -> None:
    exported = prepare(small, tmp_path, "fp16", form="float-nchw")
    manifest = manifest_of(exported.path)
    assert manifest.inputs[0].dtype == "float32" and exported.proof.verdict == "pass"


def test_an_onnx_file_with_a_fixed_batch_keeps_it(rtx: Library, fruit: tuple[str, ...], tmp_path: Path) -> None:
    exported = prepare(as_exportable(fixed_batch_model(), (16, 16), fruit, tmp_path), tmp_path / "out", "fp16")
    assert manifest_of(exported.path).inputs[0].shape == (2, 16, 16, 3)
    assert "parsed and built" in exported.checks[1]


def fixed_batch_model() -> bytes:
    """Two images at a time, (2, 3, 16, 16) floats -> 5 logits."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    constants = {
        "kernel": random.normal(size=(6, 3, 5, 5)).astype(np.float32),
        "head": random.normal(size=(6, 5)).astype(np.float32),
        "flat": np.array([2, 6], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["seen"]),
        helper.make_node("GlobalAveragePool", ["seen"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2, 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
