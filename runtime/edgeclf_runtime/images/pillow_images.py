"""Images that the caller opened or made with Pillow: those not loaded yet are read as the file that they are of."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, TiffTags

from edgeclf_runtime.errors import ImageError, one_line
from edgeclf_runtime.images.image_errors import PARSER_ERRORS
from edgeclf_runtime.images.orientation import find_turn

if TYPE_CHECKING:
    from PIL import TiffImagePlugin

_TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
_LOCK = threading.Lock()  # one image may be given twice, and workers would share its file


def unread_file(image: Image.Image, most_bytes: int) -> bytes | None:
    """Up to `most_bytes` of the file behind an image of which nothing was loaded; None: its pixels are all there is.

    Pillow's own pixels would lose what only the file knows, such as 12 bits of depth, and could not be decoded small.
    """
    with _LOCK:
        if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.tell() != 0:
            return None
        file = image.fp
        if file is None or getattr(file, "closed", False):
            return None
        place = file.tell()
        file.seek(0)
        data = file.read(most_bytes)
        file.seek(place)
        return bytes(data)


def load_pixels(image: Image.Image) -> Image.Transpose | None:
    """Loads the pixels, and gives the turn that the EXIF still requires. Raises ImageError."""
    from PIL import TiffImagePlugin

    try:
        with _LOCK:
            image.load()
            if not isinstance(image, TiffImagePlugin.TiffImageFile):
                return find_turn(image)
            if _is_unlike_its_file(image.tag_v2):
                raise ImageError("a TIFF whose loaded pixels are not those of its file; give its path or bytes instead")
            return None  # Pillow has turned it
    except PARSER_ERRORS as error:
        raise ImageError(one_line(error)) from error


def _is_unlike_its_file(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """True for depths, signs, negatives, planes and YCbCr of which Pillow gives other values than `load_tiff` reads."""
    bits, extra = set(tags.get(_TAGS["BitsPerSample"], (1,))), tags.get(_TAGS["ExtraSamples"])
    photometric = tags.get(_TAGS["PhotometricInterpretation"])
    signed = 2 in tags.get(_TAGS["SampleFormat"], ())
    negative = photometric == 0 and bits == {16}
    planes = tags.get(_TAGS["PlanarConfiguration"]) == 2 and (bits == {16} or extra is not None)
    raw_ycbcr = photometric == 6 and tags.get(_TAGS["Compression"]) == 1
    return signed or negative or planes or raw_ycbcr or not bits <= {1, 2, 4, 8, 16}


def _forget() -> None:
    global _LOCK  # a forked process has none of the threads that would free it
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget)
