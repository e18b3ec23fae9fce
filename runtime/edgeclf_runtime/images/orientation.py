"""Images turned upright by their EXIF or XMP, also where a JPEG is decoded at a part of its size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from PIL import ExifTags, Image, ImageFile

from edgeclf_runtime.images.image_errors import PARSER_ERRORS

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = [turn for orientation, turn in _TURNS.items() if orientation >= 5]
_TURNED: dict[Image.Transpose, Callable[..., tuple[float, float]]] = {  # where a turn puts the point (x, y)
    Image.Transpose.FLIP_LEFT_RIGHT: lambda x, y, width, height: (width - x, y),
    Image.Transpose.ROTATE_180: lambda x, y, width, height: (width - x, height - y),
    Image.Transpose.FLIP_TOP_BOTTOM: lambda x, y, width, height: (x, height - y),
    Image.Transpose.TRANSPOSE: lambda x, y, width, height: (y, x),
    Image.Transpose.ROTATE_270: lambda x, y, width, height: (height - y, x),
    Image.Transpose.TRANSVERSE: lambda x, y, width, height: (height - y, width - x),
    Image.Transpose.ROTATE_90: lambda x, y, width, height: (y, width - x),
}

Reduce = Callable[[int, int], "tuple[int, int]"]


class Reduced(NamedTuple):
    """Where an image that was decoded small lies in the whole one: its last row and column may end beyond it.

    `full_px` is its own (width, height), `box` what it covers of the whole: left, top, right, bottom.
    """

    full_px: tuple[int, int]
    box: tuple[float, float, float, float]


def find_turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright. ImageOps.exif_transpose also writes the EXIF anew, and fails where that is odd."""
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except PARSER_ERRORS:  # of EXIF that is none: Pillow reads it late in some formats, and then raises
        return None
    return _TURNS.get(orientation)


def draft(image: ImageFile.ImageFile, reduce: Reduce) -> Reduced | None:
    """Has a JPEG decoded small, if `reduce` lets it; None: it will be whole."""
    turn = find_turn(image)
    full_px = (image.height, image.width) if turn in _SIDEWAYS else image.size
    least = reduce(*full_px)
    drafted = image.draft(None, (least[1], least[0]) if turn in _SIDEWAYS else least)
    if drafted is None or image.size in (full_px, full_px[::-1]):
        return None
    left, top, right, bottom = drafted[1]
    if turn is None:
        return Reduced(full_px, (left, top, right, bottom))
    place = partial(_TURNED[turn], width=image.width, height=image.height)
    (x0, y0), (x1, y1) = place(left, top), place(right, bottom)
    return Reduced(full_px, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
