"""Image files to 8-bit RGB pictures: an allow-list of formats, limits, orientation, depth and transparency.

Everything that Pillow would do silently wrong is decided here: 16-bit files are scaled, not clipped; transparent
pixels show the stated background, not the colour hidden under them; float files are refused.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from edgeclf_runtime.errors import DataError, ImageError

# Formats that a camera, a scanner or a browser writes. EPS runs Ghostscript, PSD and FITS are no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
)
EXTENSIONS += (".ppm", ".pgm", ".pbm", ".pnm")

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
# What Pillow's parsers raise on damaged files, depending on the format and on which byte it is.
_PARSER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

ImageSource = Union[str, "os.PathLike[str]", BinaryIO, bytes, bytearray, memoryview, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a single image may cost. The defaults admit a 50-megapixel phone picture and stop a decompression bomb."""

    megapixels: float = 64.0
    megabytes: float = 64.0

    def check_bytes(self, found: int) -> None:
        if found > self.megabytes * 1e6:
            limit = f"over the limit of {self.megabytes:g} MB; raise it (--max-megabytes) if meant"
            raise ImageError(f"{found / 1e6:.0f} MB, {limit}")

    def check_size(self, width: int, height: int) -> None:
        if width * height > self.megapixels * 1e6:
            raise ImageError(
                f"{width}x{height} is {width * height / 1e6:.4g} megapixels, over the limit of "
                f"{self.megapixels:g}; raise it (--max-megapixels) if meant"
            )


class Reduced(NamedTuple):
    """How a picture that was decoded small lies in its image: its last row and column may lie half beyond its border.

    `full_px` is its own (width, height), `box` what it covers of the image: left, top, right, bottom.
    """

    full_px: tuple[int, int]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Decoded:
    """An RGB picture, upright, 8 bits a channel, and what had to be decided on the way (`notes`, for the user)."""

    image: Image.Image
    notes: tuple[str, ...] = ()
    reduced: Reduced | None = None


Reduce = Callable[[int, int], "tuple[int, int]"]


def find_images(folder: Path) -> tuple[list[Path], int]:
    """The image files under `folder`, sorted, and how many other files and links to folders were passed over."""
    found, others = [], 0
    for directory, folders, names in os.walk(folder, onerror=_raise_unreadable):
        others += sum(os.path.islink(os.path.join(directory, name)) for name in folders)  # might lead in a circle
        for name in names:
            if Path(name).suffix.lower() in EXTENSIONS and not name.startswith("."):
                found.append(Path(directory, name))
            else:
                others += 1
    return sorted(found), others


def _raise_unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}")


def decode(
    source: ImageSource,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    value_range: tuple[float, float] | None = None,
    channels: str = "rgb",
    limits: Limits = Limits(),
    reduce: Reduce | None = None,
) -> Decoded:
    """The picture in a path, bytes, a binary file or an array.

    Parameters
    ----------
    background
        RGB colour shown where the picture is transparent.
    value_range
        Stored values that become 0 and 255 where a channel has more than 8 bits; None: all of its bits.
    channels
        Order of an array's colours, "rgb" or "bgr". Files say theirs themselves.
    reduce
        (width, height) of a picture -> the least that may be left of it: JPEGs are then decoded at 1/2, 1/4 or 1/8,
        which leaves out most of their work. None: every picture is decoded whole.

    Raises
    ------
    ImageError
        The source is no image of the allowed formats, is damaged, or is over a limit.
    """
    if isinstance(source, np.ndarray):
        return Decoded(_from_array(source, background, value_range, channels, limits))
    data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else _read(source, limits)
    limits.check_bytes(len(data))
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    return _decode_bytes(data, background, value_range, limits, reduce)


def _read(source: str | os.PathLike[str] | BinaryIO, limits: Limits) -> bytes:
    if not isinstance(source, (str, os.PathLike)):
        try:
            data = source.read(int(limits.megabytes * 1e6) + 1)
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            raise ImageError(str(error)) from error
        if not isinstance(data, bytes):
            raise ImageError("the file object gives text; open it in binary mode ('rb')")
        return data
    try:
        with open(source, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a regular file")
            limits.check_bytes(status.st_size)
            return file.read()
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from error
    except ValueError as error:  # a null byte in the name
        raise ImageError(str(error)) from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe must not hang the caller


def _decode_bytes(
    data: bytes,
    background: tuple[int, int, int],
    value_range: tuple[float, float] | None,
    limits: Limits,
    reduce: Reduce | None,
) -> Decoded:
    notes: list[str] = []
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            limits.check_size(*opened.size)
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format in ("GIF", "WEBP", "PNG", "TIFF"):
                notes.append(f"{frames} frames: the first is used")
            if value_range is not None:
                _check_stored_values(opened)
            reduced = None if reduce is None or opened.format != "JPEG" else _draft(opened, reduce)
            opened.load()
            return Decoded(_to_rgb(_upright(opened), background, value_range), tuple(notes), reduced)
    except UnidentifiedImageError:
        raise ImageError(f"not an image of a known format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning under python -W error
        raise ImageError(str(error)) from error
    except _PARSER_ERRORS as error:
        raise ImageError(f"damaged image: {error or type(error).__name__}") from error


def _draft(image: ImageFile.ImageFile, reduce: Reduce) -> Reduced | None:
    """Has a JPEG decoded small, if `reduce` lets it; None: it will be whole."""
    turn = _turn(image)
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


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF or XMP says. ImageOps.exif_transpose also writes the EXIF anew, and fails where that is odd."""
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    return _TURNS.get(orientation)


def _check_stored_values(image: ImageFile.ImageFile) -> None:
    """Raises ImageError where Pillow hands out other values than the file stores, so that a value range would miss."""
    if image.mode in ("RGB", "RGBA", "LA") and ";16" in str(image.tile):
        raise ImageError("16-bit colour can't take a value range (Pillow keeps its upper 8 bits only)")
    if image.format == "PPM" and image.tile[0][0] != "raw":
        raise ImageError("this PNM can't take a value range (Pillow has stretched its values); store it as PNG or TIFF")


def _to_rgb(
    image: Image.Image, background: tuple[int, int, int], value_range: tuple[float, float] | None
) -> Image.Image:
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; convert the file to 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(_to_eight_bits(np.asarray(image), value_range)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*background, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(values: NDArray[np.generic], value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Integers of more than 8 bits, mapped linearly from `value_range` (None: 0..65535) to 0..255, rounded."""
    if value_range is None:
        lowest, highest = 0.0, 65535.0
        if values.size and (values.max() > 65535 or values.min() < 0):
            raise ImageError("values beyond 16 bits; say which range to show (a value range)")
    else:
        lowest, highest = value_range
    scaled = (values.astype(np.float32) - lowest) * (255.0 / (highest - lowest))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def _from_array(
    array: NDArray[np.generic],
    background: tuple[int, int, int],
    value_range: tuple[float, float] | None,
    channels: str,
    limits: Limits,
) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ImageError(f"wanted an array (H, W), (H, W, 3) or (H, W, 4), found shape {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"wanted uint8 or uint16 pixels, found {array.dtype}; scale them to 0..255 first")
    limits.check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = _to_eight_bits(array, value_range)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if channels == "bgr" and array.ndim == 3:
        array = array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)), background, None)
