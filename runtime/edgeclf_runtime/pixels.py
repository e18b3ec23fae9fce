"""The pixel contract: how a picture of any size becomes the (H, W, 3) uint8 RGB array that the graph takes.

One implementation serves validation, calibration, golden images, benchmark and device. Normalisation is not here: it is
the graph's first layer. The geometry equals torchvision's and timm's evaluation transforms on PIL images bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.images import ImageSource, Limits, decode

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

_LARGEST_RESIZE_PX = 64_000_000


@dataclass(frozen=True, slots=True)
class Pixels:
    """Geometry from a decoded picture to the network's input. Sizes are (height, width) in pixels.

    Attributes
    ----------
    resize
        "shorter": the shorter side becomes `resize_px[0]`, the other is truncated (torchvision `Resize(int)`);
        "cover": keeps the aspect ratio, covers `resize_px` (timm `ResizeKeepRatio`); "fit": keeps it, fits inside
        `resize_px` (timm "border"); "exact": becomes `resize_px` (timm "squash").
    crop_px
        Centre crop after the resize: the size of the network's input. A smaller picture is padded with `padding`.
    background
        RGB colour under transparent pixels.
    value_range
        Stored values that become 0 and 255 in pictures of more than 8 bits; None: all bits.
    """

    resize: Literal["shorter", "cover", "fit", "exact"]
    resize_px: tuple[int, int]
    crop_px: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    padding: tuple[int, int, int] = (0, 0, 0)
    background: tuple[int, int, int] = (255, 255, 255)
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.resize_px + self.crop_px) < 1 or max(self.resize_px + self.crop_px) > 16384:
            raise ValueError(f"sizes must lie in 1..16384 px: resize {self.resize_px}, crop {self.crop_px}")
        if self.resize == "shorter" and self.resize_px[0] != self.resize_px[1]:
            raise ValueError(f"resize 'shorter' takes one number, found {self.resize_px}")
        if not all(0 <= level <= 255 for level in self.padding + self.background):
            raise ValueError(f"colours must lie in 0..255: {self.padding}, {self.background}")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value range must rise, found {self.value_range}")

    def load(
        self, source: ImageSource, *, channels: str = "rgb", limits: Limits = Limits()
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Decodes `source`; returns the (H, W, 3) uint8 RGB array and the decoder's notes. Raises ImageError."""
        decoded = decode(
            source, background=self.background, value_range=self.value_range, channels=channels, limits=limits
        )
        return self.apply(decoded.image), decoded.notes

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """RGB picture of any size -> (H, W, 3) uint8."""
        width, height = self._resized_size(*image.size)
        crop_height, crop_width = self.crop_px
        left, pad_left = _centre(width, crop_width)
        top, pad_top = _centre(height, crop_height)
        right, bottom = min(width, left + crop_width), min(height, top + crop_height)
        kept = _resize_region(image, (width, height), (left, top, right, bottom), _RESAMPLING[self.interpolation])
        if kept.size != (crop_width, crop_height):
            canvas = Image.new("RGB", (crop_width, crop_height), self.padding)
            canvas.paste(kept, (pad_left, pad_top))
            kept = canvas
        return np.array(kept, dtype=np.uint8)

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after the resize, with the rounding of the transform that each rule comes from."""
        target_height, target_width = self.resize_px
        if self.resize == "exact":
            return target_width, target_height
        if self.resize == "shorter":
            longer = int(target_height * max(width, height) / min(width, height))
            size = (target_height, longer) if width <= height else (longer, target_height)
        else:
            ratios = (height / target_height, width / target_width)
            ratio = max(ratios) if self.resize == "fit" else min(ratios)
            size = (round(width / ratio), round(height / ratio))
        return max(1, size[0]), max(1, size[1])


def _centre(found: int, wanted: int) -> tuple[int, int]:
    """(first pixel kept, pixels of padding before it), rounded as torchvision's and timm's centre crops do."""
    if found >= wanted:
        return round((found - wanted) / 2.0), 0
    return 0, (wanted - found) // 2


def _resize_region(
    image: Image.Image, size: tuple[int, int], region: tuple[int, int, int, int], resampling: Image.Resampling
) -> Image.Image:
    """`image.resize(size).crop(region)`, bit for bit, computing as little beyond `region` as exactness allows.

    Pillow rounds a resize's source box to float32, and at fractional coordinates pixels then differ. So the region is
    widened to output coordinates that fall on whole source pixels: multiples of output / gcd(source, output). Only a
    sliver such as 3x5000 keeps the fractional box (some levels off), since its whole resize would take hundreds of MB.
    """
    (left, right), (top, bottom) = (
        _widen(image.size[axis], size[axis], region[axis], region[axis + 2]) for axis in (0, 1)
    )
    if (right - left) * (bottom - top) > _LARGEST_RESIZE_PX:
        left, top, right, bottom = region
    scale_x, scale_y = image.width / size[0], image.height / size[1]
    box = (left * scale_x, top * scale_y, min(right * scale_x, image.width), min(bottom * scale_y, image.height))
    resized = image.resize((right - left, bottom - top), resampling, box=box)
    return resized.crop((region[0] - left, region[1] - top, region[2] - left, region[3] - top))


def _widen(source_px: int, output_px: int, first: int, last: int) -> tuple[int, int]:
    step = output_px // math.gcd(source_px, output_px)
    return first // step * step, -(-last // step) * step
