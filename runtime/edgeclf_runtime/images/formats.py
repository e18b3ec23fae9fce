"""Which image formats are decoded, by which opener, and which are known by name only."""

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
    """Raises ImageError for components below 8 bits, which Pillow shifts up, and for signed ones, which it shifts.

    White would not be white. The SIZ marker: https://www.itu.int/rec/T-REC-T.800, A.5.1.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return  # Pillow says what is damaged
    (count,) = struct.unpack_from(">H", data, start + 40)
    sizes = data[start + 42 : start + 42 + 3 * count : 3]
    depths = [(size & 0x7F) + 1 for size in sizes]
    if any(size & 0x80 for size in sizes):
        raise ImageError("JPEG 2000 of signed values is not supported; convert it to 8 or 16 bits without a sign")
    if depths and min(depths) < 8:
        raise ImageError(f"JPEG 2000 of {min(depths)} bits a channel is not supported; convert it to 8 or 16 bits")
