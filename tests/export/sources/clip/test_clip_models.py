"""CLIP models by name, folder and weights: found where they exist, refused in one sentence where not."""

from __future__ import annotations

import json
import logging
import pickle
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_models import small_clip

from edgeclf_export.sources.clip.models import load_clip
from edgeclf_export.sources.clip.preprocess import (
    normalization_from_preprocess,
    open_clip_transform,
    pixels_from_preprocess,
    preprocess_of,
)
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.pixels import Pixels

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_clip(), tmp_path / "small"))


def test_a_folder_brings_its_own_pixels_mean_and_std(folder: Path) -> None:
    clip = load_clip(str(folder), None)
    assert clip.pixels == Pixels("shorter", (48, 48), (48, 48), "bilinear")
    assert clip.normalization.mean == clip.normalization.std == (0.5, 0.5, 0.5)
    assert clip.backbone == "open_clip/small"
    assert clip.weights.startswith("file:open_clip_model.safetensors sha256:")


def test_weights_given_beside_a_folder_replace_its_own(folder: Path) -> None:
    other = small_clip(seed=1) / "open_clip_model.safetensors"
    assert load_clip(str(folder), str(other)).digest == load_clip(str(small_clip(seed=1)), None).digest
    assert load_clip(str(folder), None).digest != load_clip(str(small_clip(seed=1)), None).digest


def test_a_torch_file_gives_the_same_model_as_safetensors(folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    state = load_file(folder / "open_clip_model.safetensors")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "epoch.pt")
    assert load_clip(str(folder), str(tmp_path / "epoch.pt")).digest == load_clip(str(folder), None).digest


def test_a_prefix_that_is_left_out_is_reported_and_recorded(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from edgeclf_export.sources.clip.encoders import image_encoder

    state = load_file(folder / "open_clip_model.safetensors")
    save_file({f"model.clip.{name}": tensor for name, tensor in state.items()}, tmp_path / "theirs.safetensors")
    clip = load_clip(str(folder), str(tmp_path / "theirs.safetensors"))
    assert clip.notes == ("the names in theirs.safetensors were taken without 'model.clip.'",)
    assert image_encoder(clip).weights.endswith("names without 'model.clip.'")
    assert clip.digest == load_clip(str(folder), None).digest and load_clip(str(folder), None).notes == ()


def test_a_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "trap.pt").write_bytes(pickle.dumps({"state_dict": Trap()}, protocol=2))
    with pytest.raises(DataError, match=r"trap\.pt"):
        load_clip(str(folder), str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_of_another_architecture_is_refused_with_the_difference(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"the weights are not of small: .*visual.*\(128.*wanted \(64"):
        load_clip(str(folder), None)


def test_positions_are_interpolated_only_for_a_size_that_was_asked_for(folder: Path) -> None:
    clip = load_clip(str(folder), None, img_size=96)
    assert clip.pixels.crop_px == (96, 96)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = 96
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="positional_embedding"):
        load_clip(str(folder), None)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda folder: (folder / "open_clip_config.json").unlink(), "open_clip_config.json: No such file"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{"), "no config of a CLIP model"),
        (lambda folder: (folder / "open_clip_config.json").write_text('{"model_cfg": {}}'), "no config of a CLIP"),
        (lambda folder: (folder / "open_clip_model.safetensors").unlink(), "holds no weights; wanted one of"),
    ],
)
def test_a_folder_that_holds_no_model_is_refused(corrupt: Any, message: str, folder: Path) -> None:
    corrupt(folder)
    with pytest.raises(DataError, match=message):
        load_clip(str(folder), None)


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-23", "openai", "no CLIP model 'ViT-B-23'.* did you mean ViT-B-32"),
        ("ViT-B-32", None, "give the weights of ViT-B-32 with --pretrained TAG, FILE, TAG=FILE or random"),
        ("ViT-B/32", "laion9", "'laion9' is neither a file nor weights that are published for ViT-B-32: openai, "),
        ("ViT-B-32", "openai", "trained with another activation than ViT-B-32 has; give --model ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu", "laion2b_e16", "neither a file nor weights"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_clip(model, pretrained)


def test_a_file_of_a_model_whose_weights_differ_in_preprocessing_needs_a_tag(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(UsageError, match=r"several kinds of preprocessing.*--pretrained TAG=.*mine\.safetensors"):
        load_clip("ViT-L-14", str(tmp_path / "mine.safetensors"))
    with pytest.raises(DataError, match=r"mine\.safetensors: no weights file"):
        load_clip("ViT-L-14", f"laion2b_s32b_b82k={tmp_path / 'mine.safetensors'}")


def test_a_tag_without_a_network_says_how_to_use_a_local_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hosts = []

    def refuse(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts.append(str(host))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    hub_constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataError) as failure:
        load_clip("ViT-B-32", "laion2b_s34b_b79k")
    assert str(failure.value) == (
        "the weights laion2b_s34b_b79k of ViT-B-32 are not available (huggingface.co can't be reached, and they are "
        "not in its cache here); download the file where there is a network and give --pretrained "
        "laion2b_s34b_b79k=FILE, or --model FOLDER with open_clip_config.json and the weights"
    )
    assert set(hosts) == {"huggingface.co"}


def test_the_root_logger_stays_as_it_was(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger().handlers)
    load_clip(str(folder), "random")
    assert logging.getLogger().handlers == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_equal_open_clips_transform_bit_for_bit(mode: str, interpolation: str, photographs: list[Path]) -> None:
    config = {
        "size": (224, 224),
        "mean": _OPENAI_MEAN,
        "std": (0.5, 0.5, 0.5),
        "interpolation": interpolation,
        "resize_mode": mode,
        "fill_color": 0,
    }
    pixels, transform = pixels_from_preprocess(config), open_clip_transform(config)
    for path in photographs:
        image = decode(path).image
        assert np.array_equal(pixels.apply(image), transform(image)), path.name
    assert preprocess_of(pixels, normalization_from_preprocess(config)) == config
