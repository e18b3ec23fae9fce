"""`--features`: a run's bundles give what their head takes, with class means and thresholds of their own features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.exporter import export
from edgeclf_export.failures import TargetsFailed
from edgeclf_export.graph.features import without_features
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.targets.registry import TARGETS
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, Reference, Thresholds
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit, LabelledData
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.metrics.similarity import class_means
from edgeclf_runtime.session import open_session


@pytest.fixture
def run(tmp_path: Path, net: Any, pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...]) -> Exportable:
    """As a run gives it: six training and two validation images of each class, an operating point of 0.1."""
    random, images = np.random.default_rng(0), []
    for number, label in enumerate(fruit):
        for i in range(8):
            name = f"{label}/{i}.png"
            array = random.integers(0, 60, (40, 40, 3)).astype(np.uint8)
            array[..., number % 3] += np.uint8(60 + 20 * number)
            (tmp_path / label).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / name)
            images.append(LabelledImage(tmp_path, name, (label,), split="train" if i < 6 else "val"))
    split = DataSplit(root=tmp_path, classes=fruit, images=tuple(images))
    thresholds = Thresholds(energy=EnergyThreshold(0.0, 0.1, 10))
    made = exportable_from_module(
        net,
        labels=fruit,
        pixels=pixels,
        normalization=normalization,
        backbone="net",
        weights="random",
        reference=Reference("pytorch", "net"),
        training=Training("fruit", 1.0, split.digest, thresholds=thresholds),
        proof_files=tuple(image.path for image in split.of("val")),
    )
    return replace(made, data=LabelledData(split, "the run fruit", lambda digest: ""))


def test_each_target_has_the_means_of_its_own_features_and_one_rate_of_false_alarms(
    run: Exportable, tmp_path: Path
) -> None:
    assert run.data is not None
    targets = ("onnx", "openvino", "tensorrt")
    made = export(run, ExportOptions(targets, output=tmp_path / "b", features=True, nearest_images=7))
    training = run.data.split.of("train")
    batch = np.stack([image.load(run.pixels) for image in training])
    assert run.run_features is not None
    wanted = class_means(run.run_features(batch), np.eye(5)[np.repeat(np.arange(5), 6)])
    for each in made:
        bundle = Bundle.open(each.path)
        manifest = bundle.manifest
        assert (each.proof.verdict, manifest.outputs[1].shape) == ("pass", ("batch", 8))
        assert manifest.features is not None
        assert manifest.features.images == len(training)
        assert np.allclose(bundle.read_array(manifest.features.class_means), wanted, rtol=1e-4, atol=1e-4)
        assert manifest.thresholds.energy is not None
        assert manifest.thresholds.features is not None
        assert manifest.thresholds.features.false_alarms == manifest.thresholds.energy.false_alarms == 0.1
        assert bundle.read_array("features/index.npy").shape == (7, 8)
    known = [image.path for image in run.data.split.of("val")]
    with Classifier.open(made[0].path) as classifier:
        assert sum(found.label == "unknown" for found in classifier.predict(known)) <= 1
        (found,) = classifier.predict(training[0].path, nearest=1)
        assert found.nearest[0].path == training[0].name


def test_logits_stay_as_they_are_without_features(run: Exportable, tmp_path: Path) -> None:
    (bare,) = export(run, ExportOptions(("onnx",), output=tmp_path / "bare"))
    (made,) = export(run, ExportOptions(("onnx",), output=tmp_path / "made", features=True))
    batch = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    with open_session(bare.path) as one, open_session(made.path) as other:
        assert np.array_equal(one(batch), other(batch))
    graphs = [Bundle.open(each.path).read("model.onnx") for each in (bare, made)]
    assert without_features(graphs[0]) == graphs[0]
    (derived,) = export(made.path, ExportOptions(("openvino",), output=tmp_path / "derived"))
    manifest = Bundle.open(derived.path).manifest
    assert (len(manifest.outputs), manifest.features, manifest.thresholds.features) == (1, None, None)


@pytest.mark.parametrize("planted", ["swapped", "altered"])
def test_a_second_output_that_is_another_tensor_fails_the_export(
    planted: str, run: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = TARGETS["onnx"]
    add: Callable[[Path, int], None] | None = onnx.add_features
    assert add is not None

    def add_others(folder: Path, width: int) -> None:
        import onnx as library

        add(folder, width)
        model = library.load(folder / "model.onnx")
        (last,) = (node for node in model.graph.node if "features" in node.output)
        last.output[0] = "right_features"
        wrong = np.arange(width)[::-1].copy() if planted == "swapped" else np.full(width, 1.01, np.float32)
        model.graph.initializer.append(library.numpy_helper.from_array(wrong, "wrong"))
        operator, more = ("Gather", {"axis": 1}) if planted == "swapped" else ("Mul", {})
        node = library.helper.make_node(operator, ["right_features", "wrong"], ["features"], **more)
        model.graph.node.append(node)
        library.save(model, folder / "model.onnx")

    monkeypatch.setitem(TARGETS, "onnx", replace(onnx, add_features=add_others))
    with pytest.raises(TargetsFailed, match="features"):
        export(run, ExportOptions(("onnx",), output=tmp_path / "b", features=True))
    assert not (tmp_path / "b" / "fruit-onnx-fp32").exists()


def test_what_has_no_features_is_refused_before_anything_is_made(run: Exportable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="litert bundles give logits alone"):
        ExportOptions(("litert",), features=True)
    with pytest.raises(UsageError, match="auto keeps several models"):
        ExportOptions(precision="auto", features=True)
    with pytest.raises(UsageError, match="--features"):
        ExportOptions(nearest_images=5)
    with pytest.raises(UsageError, match="the run that it was trained in"):
        export(replace(run, data=None), ExportOptions(output=tmp_path / "b", features=True))


def test_a_network_without_a_linear_head_is_refused(run: Exportable, tmp_path: Path) -> None:
    import torch

    layers = torch.nn
    ends_in_a_convolution = layers.Sequential(layers.Conv2d(3, 5, 5), layers.AdaptiveAvgPool2d(1), layers.Flatten())
    other = exportable_from_module(
        ends_in_a_convolution,
        labels=run.labels,
        pixels=run.pixels,
        normalization=run.normalization,
        backbone="net",
        weights="random",
        reference=run.reference,
    )
    with pytest.raises(UsageError, match="does not end in a linear layer"):
        export(replace(run, run_features=other.run_features), ExportOptions(output=tmp_path / "b", features=True))
