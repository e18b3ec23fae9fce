"""The pixel contract that a backbone's own config becomes, against the library's own evaluation transform."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version
from PIL import Image

from edgeclf_export.sources.data_config import data_config, pixels_from_config, reference_transform
from edgeclf_export.sources.model_zoo import CLASSICS, EDGE
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import UsageError

# what the edge families don't have: CLIP's and SigLIP's squash, borders, other fractions
UNUSUAL = (
    "vit_base_patch16_clip_224.openai",
    "vit_base_patch16_clip_384.openai_ft_in12k_in1k",
    "vit_base_patch16_siglip_224.webli",
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
    "convnext_base.fb_in22k_ft_in1k_384",
    "swinv2_tiny_window8_256.ms_in1k",
    "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "tf_efficientnetv2_b0.in1k",
    "inception_v3.tv_in1k",
    "deit3_small_patch16_384.fb_in1k",
)
# Before 1.0.31, timm resized for an oblong center crop by bilinear interpolation, whatever the config said.
_OBLONG_BICUBIC = {"input_size": (3, 96, 160), "crop_pct": 1.0, "interpolation": "bicubic"}
MADE_UP: tuple[dict[str, Any], ...] = (
    {"input_size": (3, 160, 96), "crop_pct": 0.9},
    *([_OBLONG_BICUBIC] if Version(version("timm")) >= Version("1.0.31") else ()),
    {"input_size": (3, 224, 224), "crop_pct": 1.0, "crop_mode": "border", "mean": (0.48, 0.46, 0.41)},
    {"input_size": (3, 224, 224), "crop_pct": 0.8, "crop_mode": "border"},
    {"input_size": (3, 128, 192), "crop_pct": 0.9, "crop_mode": "border", "interpolation": "bicubic"},
    {"input_size": (3, 128, 192), "crop_pct": 0.75, "crop_mode": "squash", "interpolation": "lanczos"},
    {"input_size": (3, 64, 64), "crop_pct": 0.875, "interpolation": "nearest"},
)


def timm_config(name: str) -> dict[str, Any]:
    guard_torchvision()
    import timm
    from timm.data import resolve_data_config

    config: dict[str, Any] = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return config


def as_config(**changes: Any) -> dict[str, Any]:
    usual = {"crop_mode": "center", "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return {**usual, "crop_pct": 0.875, "input_size": (3, 64, 64), **changes}


def configs() -> list[dict[str, Any]]:
    """Each geometry of the backbones of `edgeclf models`, of unusual ones, and of some that no backbone has."""
    names = [name.removeprefix("timm/") for name in (*CLASSICS, *EDGE) if name.startswith("timm/")]
    found = [timm_config(name) for name in (*names, *UNUSUAL)] + [as_config(**changes) for changes in MADE_UP]
    geometries = {repr([c[key] for key in ("input_size", "crop_pct", "crop_mode", "interpolation")]): c for c in found}
    return list(geometries.values())


def test_it_equals_timms_evaluation_transform_on_photographs(photographs: list[Path]) -> None:
    images = [Image.open(path).convert("RGB") for path in photographs[2:6]]
    images.append(images[0].resize((211, 90)))  # wide, and smaller than most inputs
    compared = configs()
    assert len(compared) >= 18
    for config in compared:
        pixels, transform = pixels_from_config(config), reference_transform(config)
        for image in images:
            np.testing.assert_array_equal(pixels.apply(image), transform(image), err_msg=str(config))


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "mobilenet_v3_large", "efficientnet_b0", "vit_b_16"])
def test_it_equals_torchvisions_preset_for_its_published_weights(name: str, photographs: list[Path]) -> None:
    guard_torchvision()
    from torchvision import models

    preset = models.get_model_weights(name).DEFAULT.transforms()
    mean, std = np.array(preset.mean), np.array(preset.std)
    config = data_config("torchvision", name, None, None)  # type: ignore[arg-type]
    pixels = pixels_from_config(config)
    for path in photographs[2:5]:
        image = Image.open(path).convert("RGB")
        wanted = preset(image).permute(1, 2, 0).numpy() * std + mean
        np.testing.assert_array_equal(pixels.apply(image), np.rint(wanted * 255).astype(np.uint8))


def test_another_img_size_keeps_the_cropped_share_of_the_image() -> None:
    guard_torchvision()
    for library, name in (("torchvision", "resnet18"), ("timm", "resnet18")):
        import timm

        module = timm.create_model("resnet18") if library == "timm" else None
        pixels = pixels_from_config(data_config(library, name, module, 112))  # type: ignore[arg-type]
        assert pixels.crop_px == (112, 112) and pixels.resize_px in ((128, 128), (117, 117), (118, 118))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_mode": "centre"}, "no crop mode 'centre'; choose one of center, squash, border"),
        ({"interpolation": "cubic"}, "no interpolation 'cubic'; choose one of nearest, bilinear, bicubic"),
        ({"crop_pct": 0.0}, "crop_pct must lie above 0 and up to 1, found 0.0"),
        ({"crop_pct": float("nan")}, "crop_pct must lie above 0"),
        ({"crop_pct": 1e-4}, "sizes must lie in 1..16384 px"),
    ],
)
def test_a_geometry_that_the_pixel_contract_does_not_have_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pixels_from_config(as_config(**changes))
