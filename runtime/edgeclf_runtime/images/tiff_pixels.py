"""The pixels of a TIFF as 8-bit RGB: its depth, sign, negative and planes read as its tags say."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from edgeclf_runtime.images.rgb import Colour, to_eight_bits, to_rgb
from edgeclf_runtime.images.tiff import Tags


def load_tiff(
    opened: ImageFile.ImageFile, tags: Tags, background: Colour, value_range: tuple[float, float] | None
) -> Image.Image:
    """The RGB image, upright, of a TIFF that Pillow has opened as `Tags.readable` gives it."""
    if tags.apart:
        return to_rgb(_load_planes(tags), background, None)
    opened.load()  # Pillow turns it upright
    if tags.raw_ycbcr:
        return Image.frombytes("YCbCr", opened.size, opened.tobytes()).convert("RGB")
    if len(tags.bits) == 1 and (tags.bits[0] > 8 or tags.signed):
        levels = to_eight_bits(_stored_values(opened, tags), value_range, (1 << tags.bits[0]) - 1)
        return Image.fromarray(255 - levels if tags.white_is_zero else levels).convert("RGB")
    return to_rgb(opened, background, value_range)


def _stored_values(image: Image.Image, tags: Tags) -> NDArray[np.generic]:
    """(H, W) integers of a loaded grey image as the file stores them, with their sign."""
    values: NDArray[np.generic] = np.asarray(image)
    if tags.bits == (8,):
        return values.view(np.int8)
    return values.view(np.uint32) if tags.bits == (32,) and not tags.signed else values


def _load_planes(tags: Tags) -> Image.Image:
    """Channels in planes as 8-bit RGB, RGBA, CMYK, …: each plane is read as a grey TIFF.

    Of 16 bits the upper ones are kept, as Pillow keeps them where the channels of a pixel lie together.
    """
    mode = tags.plane_mode
    planes = []
    for index in range(len(mode)):
        with Image.open(io.BytesIO(tags.plane(index)), formats=("TIFF",)) as plane:
            values = np.asarray(plane)
            planes.append((values >> 8).astype(np.uint8) if tags.bits[0] == 16 else values)
    pixels = np.dstack(planes) if len(planes) > 1 else planes[0]
    image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    return image.convert(mode.upper()) if mode.endswith("a") else image  # colours that are multiplied with alpha
