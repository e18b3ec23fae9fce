"""CLIP's image tower trains like any backbone: on features and whole, resumed from its config alone, exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_models import small_clip
from PIL import Image

from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import train
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    """Two classes that a single layer can separate: reddish and bluish noise."""
    folder, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for label in ("blue", "red"):
        (folder / label).mkdir()
        for number in range(20):
            image = random.integers(0, 100, (48, 48, 3))
            image[..., 0 if label == "red" else 2] += 150
            Image.fromarray(image.astype(np.uint8)).save(folder / label / f"{number}.png")
    return open_data(folder, 0)


def config(**changes: object) -> TrainConfig:
    chosen = TrainConfig(
        model=str(small_clip()), weights="clip:", strategy="linear-probe", epochs=40, lr=0.01, batch_size=8, workers=0
    )
    return replace(chosen, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("targets", [("onnx", "openvino"), pytest.param(("pytorch",), marks=pytest.mark.slow)])
def test_a_probe_on_the_tower_learns_and_its_bundles_are_proven(
    targets: tuple[str, ...], colours: DataSplit, tmp_path: Path
) -> None:
    run = train(config(), colours, tmp_path / "probe")
    assert run.outcome().scores["val_top1"] == 1.0
    assert run.architecture().builder.library == "open_clip"
    assert run.architecture().weights.startswith("clip:file:open_clip_model.safetensors sha256:")
    exportable = Run.open(tmp_path / "probe").exportable()
    for exported in export(exportable, ExportOptions(targets, output=tmp_path)):
        assert exported.proof.verdict != "fail"
        manifest = Bundle.open(exported.path).manifest
        assert manifest.labels == ("blue", "red") and manifest.prompts is None
        assert manifest.pixels is not None and manifest.pixels.crop_px == (48, 48)


@pytest.mark.parametrize("strategy", ["full", pytest.param("discriminative", marks=pytest.mark.check)])
def test_the_whole_tower_is_tuned(strategy: str, colours: DataSplit, tmp_path: Path) -> None:
    run = train(config(strategy=strategy, epochs=1, lr=0.001), colours, tmp_path / strategy)
    before = train(config(epochs=1), colours, tmp_path / "probe").weights()
    after = run.weights()
    assert after.keys() == before.keys()
    assert not np.array_equal(after["visual.conv1.weight"].numpy(), before["visual.conv1.weight"].numpy())


def test_layer_decay_is_refused_for_layers_without_an_order(colours: DataSplit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layer decay needs a timm backbone"):
        train(config(strategy="discriminative", layer_decay=0.8, epochs=1, lr=0.001), colours, tmp_path / "decay")
