"""Image files to 8-bit RGB: an allow-list of formats, limits, orientation, depth and transparency.

Everything that Pillow would do silently wrong is decided here: 16-bit files are scaled, not clipped; transparent
pixels show the stated background, not the colour hidden under them; float files are refused.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.formats import EXTENSIONS, open_image
from edgeclf_runtime.images.image_errors import PARSER_ERRORS, check_bmp, damage, refusal
from edgeclf_runtime.images.jpeg_end import with_end_marker
from edgeclf_runtime.images.libtiff import silence_libtiff
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.memory_budget import Reserve
from edgeclf_runtime.images.orientation import Reduce, Reduced, draft, find_turn
from edgeclf_runtime.images.pillow_images import load_pixels, unread_file
from edgeclf_runtime.images.png import transparent_pixels, without_bad_metadata
from edgeclf_runtime.images.rgb import array_to_rgb, check_array, to_rgb
from edgeclf_runtime.images.sources import ImageSource, is_source, not_a_source, read_source
from edgeclf_runtime.images.tiff import Tags, read_tags
from edgeclf_runtime.images.tiff_pixels import load_tiff

# Of odd metadata and of sizes, which are errors and notes here: they would reach the terminal beside ours.
warnings.filterwarnings("ignore", module=r"(PIL|pi_heif)\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())

_FRAMED = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")
_RGB_BYTES, _OTHER_BYTES = 8, 12  # a pixel: as decoded, as RGB, and turned or resized


@dataclass(frozen=True, slots=True)
class Decoded:
    """An RGB image, upright, 8 bits a channel, and what had to be decided on the way (`notes`, for the user)."""

    image: Image.Image
    notes: tuple[str, ...] = ()
    reduced: Reduced | None = None


class _How(NamedTuple):
    """The options of `decode` for files."""

    background: tuple[int, int, int]
    value_range: tuple[float, float] | None
    limits: Limits
    reduce: Reduce | None
    reserve: Reserve | None


def is_passed_over(name: str) -> bool:
    """True for a file or folder that holds nobody's images: hidden ones, and copies that other programs keep."""
    return name.startswith(".") or name in _COPIES or name.startswith(_THUMBNAILS)


_COPIES = ("__MACOSX", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "lost+found")  # archives, network storage
_THUMBNAILS = ("SYNOPHOTO_THUMB", "SYNOFILE_THUMB")


def find_images(folder: Path) -> tuple[list[Path], int]:
    """The image files under `folder`, sorted, and how many other files and folders that are no user's were passed over.

    Links to folders are passed over, too: they might lead in a circle.
    """
    found, others = [], 0
    for directory, folders, names in os.walk(folder, onerror=_raise_unreadable):
        others += sum(is_passed_over(name) or os.path.islink(os.path.join(directory, name)) for name in folders)
        folders[:] = [name for name in folders if not is_passed_over(name)]
        for name in names:
            if Path(name).suffix.lower() in EXTENSIONS and not is_passed_over(name):
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
    reserve: Reserve | None = None,
) -> Decoded:
    """The image in a path, bytes, a binary file, an array or an image of Pillow.

    Parameters
    ----------
    background
        RGB colour shown where the image is transparent.
    value_range
        Stored values that become 0 and 255 where a channel has more than 8 bits; None: all of its bits.
    channels
        Order of an array's colours, "rgb" or "bgr". A file states its own.
    reduce
        (width, height) of an image -> the least that may be left of it: JPEGs are then decoded at 1/2, 1/4 or 1/8,
        which leaves out most of their work. None: every image is decoded whole.
    reserve
        Called with the bytes that the pixels of a file will take, before they are decoded; it may wait.

    Raises
    ------
    ImageError
        The source is no image of the allowed formats, is damaged, or is over a limit.
    UsageError
        The source is none of these kinds.
    """
    if isinstance(source, np.ndarray):
        check_array(source)
        limits.check_size(source.shape[1], source.shape[0])
        return Decoded(array_to_rgb(source, background, value_range, channels))
    how = _How(background, value_range, limits, reduce, reserve)
    if isinstance(source, Image.Image):
        return _decode_pillow(source, how)
    if not is_source(source):
        raise not_a_source(source)
    data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else read_source(source, limits)
    limits.check_bytes(len(data))
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    return _decode_bytes(data, how)


def _decode_pillow(source: Image.Image, how: _How) -> Decoded:
    """An image that the caller opened or made: as its file, where none of it was loaded yet, else from its pixels."""
    how.limits.check_size(*source.size)
    data = unread_file(source, int(how.limits.megabytes * 1e6) + 1)
    if data is not None:
        how.limits.check_bytes(len(data))
        return _decode_bytes(data, how)
    if how.reserve is not None:
        how.reserve(source.width * source.height * _OTHER_BYTES)
    turn = load_pixels(source)
    rgb = _on_background(source, how)
    return Decoded(rgb if turn is None else rgb.transpose(turn))


def _decode_bytes(data: bytes, how: _How) -> Decoded:
    """Decodes once, and once more where only metadata or the end marker was bad."""
    tags = read_tags(data)
    try:
        return _decode_once(data, tags, how)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning under python -W error
        raise ImageError(str(error)) from error
    except PARSER_ERRORS as error:
        repaired = without_bad_metadata(data) or with_end_marker(data, how.limits.check_size)
        if repaired is None:
            raise ImageError(_reason(data, tags, error)) from error
    decoded = _decode_bytes(repaired[0], how)
    return replace(decoded, notes=(*decoded.notes, repaired[1]))


def _reason(data: bytes, tags: Tags | None, error: BaseException) -> str:
    return refusal(data) or (tags.refusal() if tags else None) or damage(data, error)


def _decode_once(data: bytes, tags: Tags | None, how: _How) -> Decoded:
    if tags is not None:
        silence_libtiff()
        tags.check(how.value_range)
    check_bmp(data)
    with open_image(data if tags is None else tags.readable()) as opened:
        how.limits.check_size(*opened.size)
        if how.value_range is not None:
            _check_stored_values(opened)
        reduced = None if how.reduce is None or opened.format != "JPEG" else draft(opened, how.reduce)
        if how.reserve is not None:
            how.reserve(opened.width * opened.height * (_RGB_BYTES if opened.mode == "RGB" else _OTHER_BYTES))
        notes = _frames(opened)
        if tags is not None:
            return Decoded(load_tiff(opened, tags, how.background, how.value_range), notes)
        opened.load()
        turn = find_turn(opened)
        rgb = _shown(opened, data, how)
        return Decoded(rgb if turn is None else rgb.transpose(turn), notes, reduced)


def _frames(opened: ImageFile.ImageFile) -> tuple[str, ...]:
    frames = getattr(opened, "n_frames", 1)
    if frames < 2:
        return ()
    if opened.format == "HEIF":
        return (f"{frames} images: the primary one is used",)
    return (f"{frames} frames: the first is used",) if opened.format in _FRAMED else ()


def _shown(opened: ImageFile.ImageFile, data: bytes, how: _How) -> Image.Image:
    """The loaded image as RGB on its background, not turned yet."""
    hidden = transparent_pixels(opened, data)
    if hidden is None:
        return _on_background(opened, how)
    del opened.info["transparency"]
    rgb = to_rgb(opened, how.background, how.value_range)
    rgb.paste(how.background, (0, 0), Image.fromarray(hidden))
    return rgb


def _on_background(image: Image.Image, how: _How) -> Image.Image:
    if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # a fourth byte that its writer left unused
    return to_rgb(image, how.background, how.value_range)


def _check_stored_values(image: ImageFile.ImageFile) -> None:
    """Raises ImageError where Pillow hands out other values than the file stores, so that a value range would miss."""
    if image.mode in ("RGB", "RGBA", "LA", "CMYK") and ";16" in str(image.tile):
        raise ImageError("16-bit colour can't take a value range (Pillow keeps its upper 8 bits only)")
    if image.format == "PPM" and image.tile[0][0] != "raw":
        raise ImageError("this PNM can't take a value range (Pillow has stretched its values); store it as PNG or TIFF")
    if image.format == "JPEG2000" and image.mode.startswith("I"):
        raise ImageError("JPEG 2000 can't take a value range (Pillow has shifted its values); store it as PNG or TIFF")
