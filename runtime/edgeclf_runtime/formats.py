"""Which image formats are decoded, which are known by name only, and why a file of a known one is refused."""

from __future__ import annotations

import io
import struct
from importlib.util import find_spec

from PIL import Image, ImageFile, features

from edgeclf_runtime.errors import ImageError

# Formats that a camera, a scanner or a browser writes. EPS runs Ghostscript, PSD and FITS are no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS: tuple[str, ...] = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
    *(".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".jxl"),  # read or refused by name
)

MODERN_KINDS = ("HEIC", "AVIF", "JPEG 2000", "JPEG XL")  # an error that starts so is about the kind
_BOX_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_GENERIC_BRANDS = (b"mif1", b"msf1", b"mif2", b"miaf")  # HEIF of any codec: the compatible brands say which
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_JPEG_XL = (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a")
_NO_HEIF = "HEIC, as phones write it: install edgeclf[heif], or convert to JPEG"
_NO_AVIF = "AVIF, which this Pillow can't decode: update it (pip install -U pillow), or convert to JPEG"
_NO_JPEG2000 = "JPEG 2000, which this Pillow was built without: install Pillow's own wheel, or convert to JPEG or PNG"


def modern_kind(data: bytes) -> str | None:
    """ "HEIC", "AVIF", "JPEG 2000" or "JPEG XL" by the first bytes; None: another format, or no image."""
    if data.startswith(_JPEG2000):
        return "JPEG 2000"
    if data.startswith(_JPEG_XL):
        return "JPEG XL"
    if data[4:8] != b"ftyp":
        return None
    end = min(max(16, int.from_bytes(data[:4], "big")), 512)
    brands = [data[8:12], *(data[place : place + 4] for place in range(16, end, 4))]
    found = [_BOX_BRANDS[brand] for brand in brands if brand in _BOX_BRANDS]
    if found and (brands[0] in _BOX_BRANDS or brands[0] in _GENERIC_BRANDS):
        return _BOX_BRANDS.get(brands[0], found[0])
    return "HEIC" if brands[0] in _GENERIC_BRANDS else None


def open_image(data: bytes) -> ImageFile.ImageFile:
    """The image file in `data`, not decoded yet, by the opener of its format alone. Raises ImageError, or Pillow's."""
    kind = modern_kind(data)
    if kind is None:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    if kind == "HEIC":
        return _open_heif(data)
    if kind == "AVIF":
        if find_spec("PIL._avif") is None:
            raise ImageError(_NO_AVIF)
        return Image.open(io.BytesIO(data), formats=("AVIF",))
    if kind == "JPEG 2000":
        if not features.check("jpg_2000"):
            raise ImageError(_NO_JPEG2000)
        _check_jpeg2000(data)
        return Image.open(io.BytesIO(data), formats=("JPEG2000",))
    raise ImageError("JPEG XL, which Pillow can't decode; convert it to JPEG or PNG")


def _open_heif(data: bytes) -> ImageFile.ImageFile:
    """By pi-heif (extra `heif`): the decoder alone. pillow-heif's wheels carry x265, which is GPL."""
    try:
        from pi_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise ImageError(_NO_HEIF) from error
    opened: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return opened


def _check_jpeg2000(data: bytes) -> None:
    """Raises ImageError for components below 8 bits, which Pillow shifts up, so that white would not be white.

    The SIZ marker: https://www.itu.int/rec/T-REC-T.800, A.5.1.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return  # Pillow says what is damaged
    (count,) = struct.unpack_from(">H", data, start + 40)
    depths = [(size & 0x7F) + 1 for size in data[start + 42 : start + 42 + 3 * count : 3]]
    if depths and min(depths) < 8:
        raise ImageError(f"JPEG 2000 of {min(depths)} bits a channel is not supported; convert it to 8 or 16 bits")


_MAGIC = {
    **{b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"BM": "BMP", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"},
    **{b"II+\0": "TIFF", b"MM\0+": "TIFF", b"RIFF": "WebP"},
}


def known_kind(data: bytes) -> str | None:
    """The format by the first bytes; None: none that is decoded."""
    return modern_kind(data) or next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


def refusal(data: bytes) -> str | None:
    """Why Pillow can't read a file of a known format, where that is no damage; None: it is damage, or unknown."""
    if data.startswith(b"BM"):
        return _bmp_refusal(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_refusal(data)
    return None


_BMP_COMPRESSIONS = {4: "JPEG", 5: "PNG", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
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
    if compression in (3, 6):
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
