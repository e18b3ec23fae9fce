"""Why an image file can't be read, in one line: what it is, or what is damaged."""

from __future__ import annotations

import re
import struct
import zlib

from PIL import UnidentifiedImageError

from edgeclf_runtime.errors import ImageError, one_line
from edgeclf_runtime.images.formats import modern_kind
from edgeclf_runtime.images.png import png_damage

# What Pillow's parsers raise on damaged files, depending on the format and on which byte it is.
PARSER_ERRORS: tuple[type[Exception], ...] = (
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

_READ = "JPEG, PNG, WebP, BMP, GIF, TIFF, PNM, AVIF, HEIC, JPEG 2000"
_OTHERS = (
    (rb"8BPS", "a Photoshop file"),
    (rb"%PDF", "a PDF"),
    (rb"%!PS", "PostScript"),
    (rb"II\*\0....CR|.{4}ftypcrx|FUJIFILMCCD-RAW|II(?:RO|U\0)|\0MRM", "a camera's raw file"),
    (rb".{4}ftyp", "a video"),
    (rb"\0\0[\1\2]\0[\1-\x40]\0", "a Windows icon"),
    (rb"BA", "an OS/2 bitmap array"),
    (rb"II\xbc", "JPEG XR"),
    (rb"DDS |\x76\x2f\x31\x01|#\?RAD|P[Ff][\s]", "a texture, or an image of high dynamic range"),
    (rb"P7\s|qoif|SIMPLE  =", "an image of a rare format"),
    (rb".{128}DICM", "a DICOM file"),
    (rb"\x93NUMPY|PK\x03\x04|\x1f\x8b|\x89HDF", "an archive, or a file of arrays"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|svg)", "SVG or other XML"),
)
_NO_IMAGES = (
    (rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype html|html)", "a web page, not an image; download the image itself again"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the image; get it with: git lfs pull"),
)


_MAGIC = {
    **{b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"},
    **{b"II+\0": "TIFF", b"MM\0+": "TIFF", b"RIFF": "WebP"},
}


def _known_kind(data: bytes) -> str | None:
    return modern_kind(data) or next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


def damage(data: bytes, error: BaseException) -> str:
    """What Pillow could not read, where `refusal` knows no other reason."""
    reason = one_line(error, None).rstrip(".: ")
    if isinstance(error, UnidentifiedImageError) or not str(error).strip():
        kind = _known_kind(data)
        if kind is None:
            return f"not an image of a known format ({_READ})"
        reason = png_damage(data) or f"the header of this {kind} can't be read"
    return f"damaged image: {reason}"


def _other_format(data: bytes) -> str | None:
    for pattern, what in _NO_IMAGES:
        if re.match(pattern, data[:200]):
            return what
    found = next((what for pattern, what in _OTHERS if re.match(pattern, data[:200], re.DOTALL)), None)
    return f"{found}, which is not decoded; convert it to JPEG or PNG" if found else None


def refusal(data: bytes) -> str | None:
    """Why Pillow can't read a file of a known format, where that is no damage; None: it is damage, or unknown."""
    if data.startswith(b"BM"):
        return _bmp_refusal(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_refusal(data)
    return None if modern_kind(data) else _other_format(data)


_BMP_COMPRESSIONS = {4: "JPEG", 5: "PNG", 6: "alpha bit field", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_USUAL_MASKS = (
    *((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)),
    *((0xFF000000, 0xFF0000, 0xFF00), (0xFF, 0xFF00, 0xFF0000), (0xFF000000, 0xFF00, 0xFF), (0, 0, 0)),
)


def _bmp_refusal(data: bytes) -> str | None:
    """BITMAPINFOHEADER: https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapinfoheader."""
    if len(data) < 54:
        return None
    (header,) = struct.unpack_from("<I", data, 14)
    known = header in (12, 40, 52, 56, 64, 108, 124)
    if not known:
        return f"BMP with a header of {header} bytes is not supported; convert it to PNG" if header < 512 else None
    if header == 12:
        (bits,), compression = struct.unpack_from("<H", data, 24), 0
    else:
        bits, compression = struct.unpack_from("<HI", data, 28)
    if compression == 3:
        masks = struct.unpack_from("<III", data, 54) if len(data) >= 66 else ()
        if not masks or masks in _USUAL_MASKS:
            return None
        what = f"{bits} bits with the masks {', '.join(f'{mask:#x}' for mask in masks)}"
    elif compression in _BMP_COMPRESSIONS:
        what = f"{_BMP_COMPRESSIONS[compression]} data"
    elif bits not in (1, 4, 8, 16, 24, 32):
        what = f"{bits} bits a pixel"
    elif compression not in (0, 1, 2):
        what = f"{bits} bits and compression {compression}"
    else:
        return None
    return f"BMP of {what} is not supported; convert it to PNG"


def check_bmp(data: bytes) -> None:
    """Raises ImageError for transparency in pixels of 16 bits, which Pillow leaves out."""
    if not data.startswith(b"BM") or len(data) < 70:
        return
    header, bits, compression = *struct.unpack_from("<I", data, 14), *struct.unpack_from("<HI", data, 28)
    if header >= 56 and (bits, compression) == (16, 3) and any(data[66:70]):
        raise ImageError("BMP of 16 bits with transparency is not supported; convert it to PNG")


_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xF7: "JPEG-LS"}


def _jpeg_refusal(data: bytes) -> str | None:
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            bits = data[place + 4]
            if marker in _FRAMES:
                return f"{_FRAMES[marker]} JPEG is not supported; convert it to an ordinary JPEG, or to PNG"
            return None if bits == 8 else f"JPEG of {bits} bits is not supported; convert it to 8 bits, or to PNG"
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
