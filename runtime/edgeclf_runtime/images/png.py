"""PNG by its chunks: metadata that Pillow stumbles over is left out, the transparent colour (tRNS) is applied exactly.

Specification: https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEAST_BYTES = {
    **{b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9},
    **{b"acTL": 8, b"fcTL": 26, b"fdAT": 4},  # of an animation, whose first frame is used
}
_LARGEST_TEXT = 1 << 20  # Pillow's own limit for a text chunk that is unpacked: ImageFile.SAFEBLOCK
_LARGEST_TEXTS = 64 << 20


class _Chunk(NamedTuple):
    kind: bytes
    body: memoryview
    whole: memoryview
    sound: bool

    @property
    def spare(self) -> bool:
        """True for what the specification calls ancillary (5.4), without which the pixels stay the same."""
        return self.kind.isalpha() and self.kind[0] >= ord("a") and self.kind != b"tRNS"


def without_bad_metadata(data: bytes) -> tuple[bytes, str] | None:
    """The PNG without the metadata that is damaged or too large to unpack, and a note; None: it has none such."""
    if not data.startswith(_SIGNATURE):
        return None
    kept, left_out, texts = [memoryview(_SIGNATURE)], [], 0
    for chunk in _chunks(memoryview(data)):
        size = _unpacked_bytes(chunk) if chunk.spare and chunk.sound else None
        texts += size or 0
        if chunk.spare and (size is None or texts > _LARGEST_TEXTS):
            left_out.append(chunk.kind.decode("ascii"))
        else:
            kept.append(chunk.whole)
    if not left_out:
        return None
    kinds = ", ".join(sorted(set(left_out)))
    return b"".join(kept), f"metadata that is damaged or over 1 MB was left out ({kinds})"


def png_damage(data: bytes) -> str | None:
    """What is wrong with a PNG whose first chunks can't be read; None: it is something else."""
    if not data.startswith(_SIGNATURE):
        return None
    found = [chunk.kind for chunk in _chunks(memoryview(data))]
    broken = next((chunk.kind for chunk in _chunks(memoryview(data)) if not chunk.sound and not chunk.spare), None)
    if broken is not None:
        return f"the checksum of its {ascii(broken)[2:-1]} chunk is wrong"
    if b"PLTE" not in found and data[25:26] == b"\3":
        return "its palette is missing"
    return None if b"IDAT" in found else "it is cut before its pixels"


def _chunks(data: memoryview) -> Iterator[_Chunk]:
    place = len(_SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        body = data[place + 8 : place + 8 + length]
        stored = bytes(data[end - 4 : end])
        yield _Chunk(kind, body, data[place:end], zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") == stored)
        place = end


def _unpacked_bytes(chunk: _Chunk) -> int | None:
    """The size of a chunk of metadata once it is unpacked; None: it is damaged, or over Pillow's limit."""
    body = bytes(chunk.body)
    if chunk.kind in (b"iCCP", b"zTXt"):
        name, _, rest = body.partition(b"\0")
        return _inflated_bytes(rest[1:]) if 1 <= len(name) <= 79 and rest[:1] == b"\0" else None
    if chunk.kind == b"iTXt":
        flag_method_rest = body.partition(b"\0")[2]
        parts = flag_method_rest[2:].split(b"\0", 2)  # language, translated keyword, text
        if flag_method_rest[:1] == b"\1":
            return _inflated_bytes(parts[2]) if len(parts) == 3 else None
    return len(body) if len(body) >= _LEAST_BYTES.get(chunk.kind, 0) else None


def _inflated_bytes(packed: bytes) -> int | None:
    try:
        unpacker = zlib.decompressobj()
        size = len(unpacker.decompress(packed, _LARGEST_TEXT))
        return None if unpacker.unconsumed_tail else size
    except zlib.error:
        return None


def transparent_pixels(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.bool_] | None:
    """(H, W) of the pixels in the transparent colour of a loaded grey or RGB PNG; None: it has no such colour.

    The colour is compared at the depth of the file, all 16 bits included; bits beyond the depth are ignored, as the
    specification requires (11.3.1.1).
    """
    if image.format != "PNG" or "transparency" not in image.info or data[25] not in (0, 2):
        return None
    depth, channels = data[24], 1 if data[25] == 0 else 3
    stored = next(bytes(chunk.body) for chunk in _chunks(memoryview(data)) if chunk.kind == b"tRNS")
    colour = np.frombuffer(stored, ">u2", channels) & ((1 << depth) - 1)
    values = np.asarray(image)
    if channels == 1:
        step = 1 if depth in (1, 16) else 255 // ((1 << depth) - 1)  # Pillow spreads fewer bits over 0..255
        return np.asarray(values == colour[0] * step)
    if depth == 8:
        return np.asarray((values == colour).all(axis=2))
    return np.asarray(((values == colour >> 8) & (_lower_bytes(data) == (colour & 255))).all(axis=2))


def _lower_bytes(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3): what Pillow drops of 16-bit RGB, read by the unpacker of the other byte order."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        again.load()
        return np.asarray(again)
