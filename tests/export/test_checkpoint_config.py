"""A checkpoint of one's own brings its own pixels: read from timm's config beside it, or given as options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf import cli
from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.backbones import load_backbone
from edgeclf_runtime.errors import DataError

torch = pytest.importorskip("torch")

OWN = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.25, 0.2],
    "crop_pct": 0.8,
    "crop_mode": "squash",
    "interpolation": "bilinear",
}


@pytest.fixture
def place(load: Callable[[str], Exportable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a checkpoint of five classes that does not record its preprocessing."""
    torch.save({"state_dict": load("test_resnet").state}, tmp_path / "best.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_the_file(place: Path, config: dict[str, Any]) -> None:
    torch.save({**torch.load(place / "best.pth"), "pretrained_cfg": config}, place / "best.pth")


def by_the_hub(place: Path, config: dict[str, Any]) -> None:
    (place / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": config}))


def by_an_older_hub(place: Path, config: dict[str, Any]) -> None:
    (place / "config.json").write_text(json.dumps({"architecture": "test_resnet", **config}))


def by_the_training_script(place: Path, config: dict[str, Any]) -> None:
    plain = {**config, "img_size": config.get("input_size", [None])[-1], "input_size": None}
    (place / "args.yaml").write_text(json.dumps({"model": "test_resnet.r160_in1k", "lr": 0.1, **plain}))  # JSON is YAML


@pytest.mark.parametrize("tell", [in_the_file, by_the_hub, by_an_older_hub, by_the_training_script])
def test_the_config_that_timm_saves_with_a_checkpoint_becomes_its_pixel_contract(
    tell: Callable[[Path, dict[str, Any]], None], place: Path
) -> None:
    tell(place, {**OWN, "input_size": [3, 96, 96]})
    loaded = load_backbone("test_resnet", "best.pth", labels=tuple("abcde"))
    assert (loaded.pixels.resize, loaded.pixels.resize_px, loaded.pixels.crop_px) == ("exact", (120, 120), (96, 96))
    assert loaded.pixels.interpolation == "bilinear"
    assert list(loaded.normalization.mean) == OWN["mean"] and list(loaded.normalization.std) == OWN["std"]
    assert "best.pth" in loaded.pixels_from and loaded.notes == ()


def test_training_continues_with_the_pixels_that_a_checkpoint_was_trained_on(place: Path) -> None:
    from edgeclf_export.sources.trained import load_for_training

    by_the_hub(place, {**OWN, "input_size": [3, 96, 96]})
    begun, _ = load_for_training("test_resnet", "best.pth", labels=("a", "b"), img_size=None, seed=0)
    assert (begun.pixels.resize, begun.pixels.crop_px) == ("exact", (96, 96))
    assert list(begun.normalization.mean) == OWN["mean"]
    assert begun.weights.endswith(", pixels as in config.json beside best.pth")


def test_a_checkpoint_without_a_config_is_reported_and_gets_the_published_pixels(
    place: Path, load: Callable[[str], Exportable]
) -> None:
    (place / "config.json").write_text(json.dumps({"architecture": "resnet50", "pretrained_cfg": OWN}))  # of another
    loaded = load_backbone("test_resnet", "best.pth", img_size=64)
    assert (loaded.normalization, loaded.pixels) == (load("test_resnet").normalization, load("test_resnet").pixels)
    assert loaded.pixels_from == "--img-size; the rest from the published timm/test_resnet"
    assert "best.pth does not record how its images were preprocessed" in loaded.notes[0]


@pytest.mark.parametrize(
    "config", [{"mean": [0.5, 0.5]}, {"std": [0.1, 0, 0.1]}, {"input_size": [3, 64, 32]}, {"crop_pct": "all"}]
)
def test_a_config_with_an_impossible_value_is_refused(config: dict[str, Any], place: Path) -> None:
    by_the_hub(place, config)
    with pytest.raises(DataError, match=rf"config\.json beside best\.pth: {next(iter(config))} wants .*, found"):
        load_backbone("test_resnet", "best.pth")


def test_classes_without_names_are_numbered_and_reported(place: Path) -> None:
    note = "the names of its 5 classes are not known, so they are class_0, class_1, …: give --labels FILE"
    assert note in load_backbone("test_resnet", "best.pth", img_size=64).notes
    assert note not in load_backbone("test_resnet", "best.pth", labels=tuple("abcde"), img_size=64).notes


def test_torchvisions_models_take_other_pixels_too(tmp_path: Path) -> None:
    trained = load_backbone("torchvision/resnet18", "random", labels=("a", "b", "c"), img_size=64)
    torch.save(trained.state, tmp_path / "best.pth")
    typed = {"crop_pct": 1.0, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    loaded = load_backbone("torchvision/resnet18", str(tmp_path / "best.pth"), img_size=64, preprocessing=typed)
    assert loaded.pixels.resize_px == (64, 64) and trained.pixels.resize_px == (73, 73)
    assert loaded.normalization.mean == (0.5, 0.5, 0.5)


def test_options_override_the_checkpoints_pixels_and_are_in_the_result(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_file(place, OWN)
    own = ["export", "-m", "test_resnet", "--weights", "best.pth", "--img-size", "64", "-t", "pytorch", "--json"]
    assert cli.run([*own, "--mean", "0,0,0", "--std", "1,1,1", "--crop-mode", "border", "--crop-pct", "1"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bundles"][0]["proof"]["verdict"] == "pass"
    schema = json.loads((root / "docs" / "schemas" / "export.schema.json").read_text())
    pytest.importorskip("jsonschema").validate(document, schema)
    source = document["source"]
    assert source["pixels"]["resize"] == "fit" and source["pixels"]["resize_px"] == [64, 64]
    assert source["pixels"]["interpolation"] == "bilinear" and source["normalization"]["std"] == [1, 1, 1]
    wanted = "--mean, --std, --crop-pct, --crop-mode, --img-size; the rest from pretrained_cfg in best.pth"
    assert source["pixels_from"] == wanted
    manifest = json.loads((place / "bundles/test_resnet-pytorch-fp32/manifest.json").read_text())
    assert manifest["pixels"] == source["pixels"] and manifest["normalization"]["mean"] == [0, 0, 0]


def test_folders_that_are_no_checkpoint_are_refused_with_the_command_for_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_the_hub(place, OWN)
    assert cli.run(["export", str(place)]) == 2
    assert f"timm's test_resnet: edgeclf export --model test_resnet --weights {place}" in capsys.readouterr().err
    for name in ("network.json", "split.json"):
        (place / name).touch()  # as `train` leaves them
    assert cli.run(["export", "-m", "test_resnet", "--weights", str(place)]) == 2
    assert (
        f"is a run, which knows its network, labels and preprocessing: edgeclf export {place}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0,0,0"], "--mean goes with --std R,G,B"),
        (["--mean", "127,127,127", "--std", "1,1,1"], "wanted are those of 0 to 1"),
        (["--channels", "bgr"], "--channels is for FILE.onnx"),
        (["--crop-mode", "corner"], "--crop-mode takes no 'corner'; choose one of center, squash, border"),
    ],
)
def test_impossible_pixel_options_are_refused_in_one_line(
    options: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["export", "-m", "test_resnet", "--weights", "best.pth", "--img-size", "64", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
