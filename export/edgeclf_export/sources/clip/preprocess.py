"""The preprocessing of a CLIP model: open_clip's config as the pixel contract, and its transform to check it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.sources.clip.library import import_open_clip
from edgeclf_export.sources.data_config import three
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    from PIL import Image

_RULES = {"shortest": "shorter", "longest": "fit", "squash": "exact"}  # open_clip's resize modes


def pixels_from_preprocess(config: Mapping[str, Any]) -> Pixels:
    """open_clip's preprocess config -> Pixels. Raises DataError for a resize that the pixel contract doesn't know."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if mode not in _RULES or interpolation not in ("bicubic", "bilinear"):
        raise DataError(
            f"resize mode {mode!r} with interpolation {interpolation!r} is not supported; supported are "
            f"{', '.join(_RULES)}, with bicubic or bilinear"
        )
    rule = "cover" if mode == "shortest" and height != width else _RULES[mode]
    fill = int(config["fill_color"])
    padding = (fill, fill, fill) if mode == "longest" else (0, 0, 0)
    return Pixels(rule, (height, width), (height, width), interpolation, padding)  # type: ignore[arg-type]


def normalization_from_preprocess(config: Mapping[str, Any]) -> Normalization:
    return Normalization(three(config["mean"]), three(config["std"]))


def preprocess_of(pixels: Pixels, normalization: Normalization) -> dict[str, Any]:
    """The config that `pixels_from_preprocess` turns into these pixels: for a run, which records only Pixels."""
    modes = {rule: mode for mode, rule in _RULES.items()} | {"cover": "shortest"}
    return {
        "size": pixels.crop_px,
        "mean": normalization.mean,
        "std": normalization.std,
        "interpolation": pixels.interpolation,
        "resize_mode": modes[pixels.resize],
        "fill_color": pixels.padding[0],
    }


def open_clip_transform(config: Mapping[str, Any]) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """open_clip's own evaluation transform up to the uint8 image, to compare the runtime's pixels with."""
    import_open_clip()
    from open_clip.transform import MaybeConvertMode, PreprocessCfg, image_transform_v2

    steps = image_transform_v2(PreprocessCfg(**config), is_train=False).transforms
    geometry = list(takewhile(lambda step: not isinstance(step, MaybeConvertMode), steps))

    def transform(image: Image.Image) -> NDArray[np.uint8]:
        for step in geometry:
            image = step(image)
        return np.array(image, dtype=np.uint8)

    return transform


def open_clip_input(config: Mapping[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """(N, H, W, 3) uint8 pixels -> (N, 3, H, W) float32, by open_clip's own evaluation transform after its geometry."""
    import_open_clip()
    from open_clip.transform import MaybeConvertMode, PreprocessCfg, image_transform_v2
    from PIL import Image

    steps = image_transform_v2(PreprocessCfg(**config), is_train=False).transforms
    after_geometry = list(dropwhile(lambda step: not isinstance(step, MaybeConvertMode), steps))

    def prepare(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images: list[Any] = [Image.fromarray(image) for image in pixels]
        for step in after_geometry:
            images = [step(image) for image in images]
        return np.stack([image.numpy() for image in images])

    return prepare
