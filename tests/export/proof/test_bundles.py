"""Each target that runs here: the bundle opens, predicts, verifies, and says what it stores and what it computes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeclf_export.options import ExportOptions
from edgeclf_export.targets.registry import TARGETS
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.machine.facts import package_version

PAIRS = [
    (name, precision)
    for name, target in TARGETS.items()
    if target.on_device is None and not target.needs_module  # test_litert.py
    for precision in target.precisions
]
STORED = {("openvino", "bf16"): "fp32"}  # its bf16 is about computing


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(pair))
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    target, precision = request.param
    if (target, precision) == ("openvino", "bf16") and not computes_bf16():
        pytest.skip("this CPU computes no bf16")
    return target, precision


def computes_bf16() -> bool:
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture
def bundle(pair: tuple[str, str], make: Callable[..., Mapping[str, Path]]) -> Path:
    return make("test_resnet", pair[1])[pair[0]]


def test_the_bundle_passes_its_own_proof_and_verify(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    proof = opened.manifest.proof
    assert proof is not None and proof.verdict == "pass" and proof.reasons == ()
    assert proof.comparison.images == 9 and proof.images_source == "shipped photographs"
    assert len(opened.manifest.golden.images) == 9
    assert verify(opened).verdict == "pass"


def test_the_bundle_gives_predictions_for_photographs(
    bundle: Path, photographs: list[Path], fruit: tuple[str, ...]
) -> None:
    with Classifier.open(bundle) as classifier:
        predictions = list(classifier.predict(photographs[:3]))
    assert [prediction.error for prediction in predictions] == [None, None, None]
    assert all(prediction.label in fruit for prediction in predictions)


def test_stored_and_computed_precision_are_recorded_apart(bundle: Path, pair: tuple[str, str]) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.weights_precision == STORED.get(pair, pair[1])
    assert manifest.proof is not None
    assert manifest.compute_precision == manifest.proof.compute_precision
    if pair[1] in ("fp32", "bf16") or pair[0] == "pytorch":
        assert manifest.compute_precision == pair[1]


def test_fp16_halves_the_file(make: Callable[..., Mapping[str, Path]]) -> None:
    for target, model in (("onnx", "model.onnx"), ("openvino", "model.bin"), ("pytorch", "model.safetensors")):
        full, half = (make("test_resnet", p)[target] / model for p in ("fp32", "fp16"))
        assert half.stat().st_size < 0.55 * full.stat().st_size


def test_coarser_precisions_get_their_own_tolerances_and_fp32_the_tight_ones(
    make: Callable[..., Mapping[str, Path]],
) -> None:
    tolerated = {
        p: Bundle.open(make("test_resnet", p)["pytorch"]).manifest.tolerances.relative for p in ("fp32", "fp16")
    }
    assert tolerated == {"fp32": 1e-4, "fp16": 0.02}


def test_the_manifest_records_where_everything_comes_from(make: Callable[..., Mapping[str, Path]]) -> None:
    manifest = Bundle.open(make("test_resnet")["onnx"]).manifest
    provenance = manifest.provenance
    assert (provenance.backbone, provenance.weights) == ("timm/test_resnet", "random, seed 0")
    assert provenance.versions["timm"] == package_version("timm")
    assert manifest.reference.kind == "pytorch" and len(manifest.reference.id.split()[-1]) == 64
    assert manifest.files.keys() >= {"model.onnx", "golden/outputs.npy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ("tpu",)}, "no target 'tpu'; choose one of onnx, openvino, litert, tensorrt, pytorch"),
        ({"targets": ("onnx",), "precision": "bf16"}, "onnx has no precision 'bf16'; choose one of fp32, fp16"),
        ({"targets": ("onnx", "openvino"), "precision": "bf16"}, "onnx has no precision 'bf16'"),
        ({"targets": ("tensorrt",), "precision": "int4"}, "tensorrt has no precision 'int4'; choose one of fp32, fp16"),
        ({"targets": ("pytorch",), "precision": "int4"}, "pytorch has no precision 'int4'; choose one of fp32, f"),
        ({"form": "float-nhwc"}, "no input form 'float-nhwc'; choose one of uint8-nhwc, float-nchw"),
        ({"name": "../elsewhere"}, "can't name a folder"),
        ({"name": ""}, "can't name a folder"),
    ],
)  # fmt: skip
def test_unsupported_options_are_refused_with_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        ExportOptions(**arguments)
