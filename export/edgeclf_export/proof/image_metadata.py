"""Removes metadata from an image file: bundles are passed on, and EXIF may hold a place or a patient's name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

_JPEG_START, _SCAN, _EXIF, _ADOBE, _JFIF, _COMMENT = b"\xff\xd8", 0xDA, 0xE1, 0xEE, 0xE0, 0xFE
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def without_metadata(data: bytes) -> bytes | None:
    """The same JPEG or PNG without EXIF (but the orientation), XMP, colour profiles, comments; None for other formats.

    Segments of ITU T.81 annex B, chunks of the PNG specification; the compressed pixels are not touched.
    """
    if data.startswith(_JPEG_START):
        return b"".join(_jpeg_parts(data))
    if data.startswith(_PNG_START):
        return b"".join(_png_parts(data))
    return None


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    yield _JPEG_START
    position, turned = 2, _orientation(data)
    if turned != 1:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = turned
        payload = exif.tobytes()
        yield b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == _SCAN:
            break
        size = int(struct.unpack(">H", data[position + 2 : position + 4])[0]) + 2
        needless = (0xE0 <= marker <= 0xEF and marker not in (_JFIF, _ADOBE)) or marker == _COMMENT
        if not needless:
            yield data[position : position + size]
        position += size
    yield data[position:]


def _png_parts(data: bytes) -> Iterator[bytes]:
    yield _PNG_START
    position, turned = 8, _orientation(data)
    while position + 8 <= len(data):
        size = int(struct.unpack(">I", data[position : position + 4])[0]) + 12
        kind = data[position + 4 : position + 8]
        if kind in _PNG_KEPT:
            yield data[position : position + size]
        if kind == b"IHDR" and turned != 1:
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = turned
            payload = exif.tobytes().removeprefix(b"Exif\x00\x00")
            checksum = zlib.crc32(b"eXIf" + payload)
            yield struct.pack(">I", len(payload)) + b"eXIf" + payload + struct.pack(">I", checksum)
        position += size


def _orientation(data: bytes) -> int:
    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
