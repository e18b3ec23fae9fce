"""timm's data config, and torchvision's in its form: as Pixels, and as the library's own transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.sources.modules import ReferenceInput, normalized_by_torchvision
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.pixels import Interpolation, Pixels

if TYPE_CHECKING:
    import torch
    from PIL import Image

_RULES = {"center": "shorter", "squash": "exact", "border": "fit"}  # timm's crop modes


def data_config(library: str, name: str, module: torch.nn.Module, img_size: int | None) -> dict[str, Any]:
    """timm's data config of the module; torchvision's evaluation transform in the same form."""
    if library == "timm":
        from timm.data import resolve_model_data_config

        size = {"img_size": img_size} if img_size is not None else {}
        config: dict[str, Any] = resolve_model_data_config(module, args=size)
        return config
    from torchvision import models

    preset = models.get_model_weights(name).DEFAULT.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    if img_size is not None:
        crop, resize = img_size, round(img_size * resize / crop)
    return {
        "input_size": (3, crop, crop),
        "resize_px": (resize, resize),
        "crop_pct": crop / resize,
        "crop_mode": "center",
        "interpolation": preset.interpolation.value,
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
    }


def changed_config(config: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A data config with other settings; torchvision's resize is computed anew, as timm does, where these change it."""
    changed = {**config, **settings}
    if not {"crop_pct", "crop_mode"}.isdisjoint(settings):
        changed.pop("resize_px", None)
    return changed


def pixels_from_config(config: Mapping[str, Any]) -> Pixels:
    """timm's data config -> Pixels, with the sizes that timm's evaluation transform computes from it.

    Raises UsageError for a crop that the pixel contract doesn't know.
    """
    height, width = config["input_size"][1:]
    mode, crop_pct, interpolation = config["crop_mode"], config["crop_pct"], config["interpolation"]
    if mode not in _RULES:
        raise UsageError(f"no crop mode {mode!r}; choose one of {', '.join(_RULES)}")
    if interpolation not in get_args(Interpolation):
        raise UsageError(f"no interpolation {interpolation!r}; choose one of {', '.join(get_args(Interpolation))}")
    if not 0 < crop_pct <= 1:
        raise UsageError(f"crop_pct must lie above 0 and up to 1, found {crop_pct}")
    resize_px = config.get("resize_px") or (math.floor(height / crop_pct), math.floor(width / crop_pct))
    rule = "cover" if mode == "center" and resize_px[0] != resize_px[1] else _RULES[mode]
    padding = tuple(round(255 * value) for value in config["mean"]) if mode == "border" else (0, 0, 0)
    try:
        return Pixels(rule, resize_px, (height, width), interpolation, padding)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from error


def reference_transform(config: Mapping[str, Any]) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """The library's own evaluation transform up to the uint8 image, to compare the runtime's pixels with."""
    if "resize_px" in config:
        from torchvision import transforms

        resize = transforms.Resize(config["resize_px"][0], transforms.InterpolationMode(config["interpolation"]))
        whole = transforms.Compose([resize, transforms.CenterCrop(config["input_size"][1:]), transforms.PILToTensor()])
    else:
        from timm.data import create_transform

        # normalize=False ends with a uint8 tensor (3, H, W)
        whole = create_transform(**config, normalize=False)
    return lambda image: np.ascontiguousarray(whole(image).permute(1, 2, 0).numpy())


def reference_input(config: Mapping[str, Any]) -> ReferenceInput:
    """What the library's own evaluation transform makes of (N, H, W, 3) uint8 pixels: (N, 3, H, W) float32."""
    if "resize_px" in config:
        return normalized_by_torchvision(Normalization(three(config["mean"]), three(config["std"])))

    def prepare(pixels: NDArray[np.uint8]) -> torch.Tensor:
        import torch
        from PIL import Image
        from timm.data import create_transform
        from timm.data.transforms import MaybeToTensor

        steps = create_transform(**config).transforms
        after_geometry = list(dropwhile(lambda step: not isinstance(step, MaybeToTensor), steps))
        images: list[Any] = [Image.fromarray(image) for image in pixels]
        for step in after_geometry:
            images = [step(image) for image in images]
        return torch.stack(images)

    return prepare


def three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
