"""A finished onnx bundle as the source of others: no torch, and still proven against PyTorch's outputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import Exported, export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.bundle import load_bundle_classifier
from edgeclf_runtime.bundle.atomic_write import MANIFEST, seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, parse_manifest
from edgeclf_runtime.errors import DataError, GateError, UsageError

Load = Callable[[str], Exportable]
Make = Callable[..., Mapping[str, Path]]


def prepare(exportable: Exportable, folder: Path, precision: str = "fp32", **options: Any) -> Exported:
    (exported,) = export(exportable, ExportOptions(("tensorrt",), precision, output=folder, **options))
    return exported


def manifest_of(folder: Path) -> Manifest:
    return parse_manifest((folder / MANIFEST).read_bytes(), str(folder))


@pytest.fixture
def parent(make: Make, tmp_path: Path) -> Bundle:
    """An onnx bundle with a temperature of its own."""
    folder = shutil.copytree(make("test_resnet")["onnx"], tmp_path / "parents" / "pears-onnx-fp32")
    seal(folder, replace(manifest_of(folder), temperature=1.25))
    return Bundle.open(folder)


def child_of(parent: Bundle, folder: Path, **options: Any) -> Exported:
    (folder / "golden").mkdir(parents=True)
    return prepare(load_bundle_classifier(parent, folder / "golden"), folder / "out", **options)


def test_the_path_of_a_bundle_is_a_source(parent: Bundle, without_rtx: None, tmp_path: Path) -> None:
    (exported,) = export(str(parent.path), ExportOptions(("tensorrt",), output=tmp_path / "out"))
    assert (exported.path.name, exported.proof.verdict) == ("pears-tensorrt-fp32", "pass")
    assert manifest_of(exported.path).derived_from == parent.digest


def test_an_onnx_bundle_is_a_source_and_pytorchs_outputs_in_it_are_the_reference(
    parent: Bundle, without_rtx: None, tmp_path: Path
) -> None:
    exported = child_of(parent, tmp_path, precision="fp16")
    manifest = manifest_of(exported.path)
    assert exported.path.name == "pears-tensorrt-fp16"
    assert manifest.derived_from == parent.digest and manifest.reference == parent.manifest.reference
    assert (manifest.temperature, manifest.labels) == (1.25, parent.manifest.labels)
    assert manifest.provenance.weights == parent.manifest.provenance.weights
    assert exported.proof.images_source == "golden images of pears-onnx-fp32: 9 of 9 images"
    assert np.array_equal(
        Bundle.open(exported.path).read_array(manifest.golden.outputs),
        parent.read_array(parent.manifest.golden.outputs),
    )


def test_an_onnx_bundle_gives_the_graph_that_its_run_would_have_given(
    parent: Bundle, load: Load, without_rtx: None, tmp_path: Path
) -> None:
    direct = prepare(load("test_resnet"), tmp_path / "direct", "fp16")
    assert (child_of(parent, tmp_path, precision="fp16").path / "model.onnx").read_bytes() == (
        direct.path / "model.onnx"
    ).read_bytes()


def test_a_changed_weight_in_the_bundle_is_found_before_it_is_published(
    parent: Bundle, without_rtx: None, tmp_path: Path
) -> None:
    from onnx import numpy_helper

    model = onnx.load(parent.path / "model.onnx")
    (head,) = (node.input[1] for node in model.graph.node if node.op_type == "Gemm")
    (weight,) = (item for item in model.graph.initializer if item.name == head)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(2), head))
    onnx.save(model, parent.path / "model.onnx")
    seal(parent.path, parent.manifest)
    with pytest.raises(GateError, match="pears-tensorrt-fp32 differs from its reference"):
        child_of(Bundle.open(parent.path), tmp_path)


def test_other_proof_images_than_the_golden_ones_are_refused(parent: Bundle, few_images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --proof-data out"):
        child_of(parent, tmp_path / "x", proof_data=few_images)


def test_another_input_form_than_the_bundles_is_refused(parent: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes uint8-nhwc; give --input uint8-nhwc"):
        child_of(parent, tmp_path / "x", form="float-nchw")


def test_golden_images_that_decode_differently_here_are_refused(
    parent: Bundle, without_rtx: None, tmp_path: Path
) -> None:
    manifest = replace(parent.manifest, pixels=replace(parent.manifest.pixels, interpolation="nearest"))
    seal(parent.path, manifest)
    with pytest.raises(DataError, match="decodes the golden images into other pixels"):
        child_of(Bundle.open(parent.path), tmp_path)


@pytest.mark.parametrize(("target", "precision"), [("openvino", "fp32"), ("onnx", "fp16"), ("pytorch", "fp32")])
def test_bundles_of_another_kind_are_refused_as_a_source(
    target: str, precision: str, make: Make, tmp_path: Path
) -> None:
    bundle = Bundle.open(make("test_resnet", precision)[target])
    with pytest.raises(UsageError, match=f"a bundle for {target} in {precision}; others are made from an onnx bundle"):
        load_bundle_classifier(bundle, tmp_path)
