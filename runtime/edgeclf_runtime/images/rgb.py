"""Decoded pixels of any mode to 8-bit RGB: depth is scaled, not clipped, and transparent pixels show the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError

Colour = tuple[int, int, int]
_BAND_PX = 1_000_000  # what is converted at a time, so that a large image needs no further copies of itself


def to_rgb(image: Image.Image, background: Colour, value_range: tuple[float, float] | None) -> Image.Image:
    """An image of any of Pillow's modes -> RGB. Raises ImageError where that has no agreed meaning."""
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    if image.mode in ("LAB", "HSV"):
        raise ImageError(f"{image.mode} colours are not supported; convert it to RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        rgb = Image.fromarray(to_eight_bits(values, value_range)).convert("RGB")
        if isinstance(clear := image.info.get("transparency"), int):  # of a PNG that the caller has loaded
            rgb.paste(background, (0, 0), Image.fromarray(values == clear))
        return rgb
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _composited(image, background)
    return image if image.mode == "RGB" else image.convert("RGB")


def _composited(image: Image.Image, background: Colour) -> Image.Image:
    whole = Image.new("RGB", image.size)
    rows = max(1, _BAND_PX // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows))).convert("RGBA")
        canvas = Image.new("RGBA", band.size, (*background, 255))
        whole.paste(Image.alpha_composite(canvas, band).convert("RGB"), (0, top))
    return whole


def to_eight_bits(
    values: NDArray[np.generic], value_range: tuple[float, float] | None, highest: int = 65535
) -> NDArray[np.uint8]:
    """Integers of more than 8 bits, mapped linearly from `value_range` (None: 0..highest) to 0..255, rounded."""
    if value_range is None:
        value_range = (0.0, float(highest))
        if values.size and (values.max() > highest or values.min() < 0):
            raise ImageError("values beyond 16 bits; give the range of values to show (--bit-depth or --window)")
    lowest, scale = value_range[0], 255.0 / (value_range[1] - value_range[0])
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _BAND_PX // max(1, values.size // values.shape[0]))
    for top in range(0, values.shape[0], rows):
        levels = (values[top : top + rows].astype(np.float32) - lowest) * scale
        scaled[top : top + rows] = np.clip(np.rint(levels), 0, 255)
    return scaled


def check_array(array: NDArray[np.generic]) -> None:
    """Raises ImageError for a shape that is no image's, with what to do about the usual ones."""
    shape = array.shape
    if array.ndim in (2, 3) and (array.ndim == 2 or shape[2] in (1, 3, 4)) and 0 not in shape:
        return
    hint = ""
    if array.ndim == 4:
        hint = "; of a batch give its images one by one: list(batch)"
    elif array.ndim == 3 and shape[0] in (1, 3, 4):
        hint = "; colours come last: array.transpose(1, 2, 0)"
    elif array.ndim == 1 and array.dtype.kind in "OU":
        hint = "; of paths give a list: array.tolist()"
    raise ImageError(f"wanted an array (H, W), (H, W, 3) or (H, W, 4), found shape {shape}{hint}")


def array_to_rgb(
    array: NDArray[np.generic], background: Colour, value_range: tuple[float, float] | None, channels: str
) -> Image.Image:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 or uint16 -> RGB. Raises ImageError for another dtype."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"wanted uint8 or uint16 pixels, found {array.dtype}; scale them to 0..255 first")
    if array.dtype == np.uint16:
        array = to_eight_bits(array, value_range)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if channels == "bgr" and array.ndim == 3:
        array = array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)), background, None)
