"""Inputs for a fuzzer: small valid files of every kind that is read, and random damage to them."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, features

from edgeclf_runtime.errors import EdgeclfError

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1)
_LARGEST_BYTES = 1 << 18

# in place of a value of JSON; JSON's numbers have no limit, and Python's parser takes Infinity and NaN
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "\ud800",
    "a\0b",
    "9" * 5000,
    0,
    -1,
    1 << 63,
    10**400,
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
)

Repair = Callable[[bytes], bytes]


def images() -> tuple[bytes, ...]:
    """A picture of 24x17 pixels in every format that this Pillow writes, in each kind of pixel that the format has."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (17, 24, 3), dtype=np.uint8))
    grey, alpha, colours = picture.convert("L"), picture.convert("RGBA"), picture.quantize(16)
    deep = Image.fromarray(rng.integers(0, 65536, (17, 24), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x112] = 6
    made = [
        *(_file(picture, "JPEG", exif=turned), _file(picture, "JPEG", progressive=True), _file(grey, "JPEG")),
        _file(picture.convert("CMYK"), "JPEG"),
        *(
            _file(each, "PNG")
            for each in (picture, grey, alpha, colours, deep, picture.convert("1"), grey.convert("LA"))
        ),
        *(_file(each, "BMP") for each in (picture, grey, colours, alpha)),
        _file(colours, "GIF", save_all=True, append_images=[colours.rotate(90)], transparency=3),
        *(_file(each, "WEBP", lossless=lossless) for each in (picture, alpha) for lossless in (True, False)),
        *(_file(each, "PPM") for each in (picture, grey, deep, picture.convert("1"))),
        *(_file(each, "TIFF") for each in (picture, deep, alpha, colours, picture.convert("CMYK"))),
        *(_file(picture, "TIFF", compression=each) for each in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        _file(picture.convert("1"), "TIFF", compression="group4"),
    ]
    if features.check("jpg_2000"):
        made += [_file(picture, "JPEG2000"), _file(deep, "JPEG2000", no_jp2=True)]
    if features.check("avif"):
        made += [_file(picture, "AVIF"), _file(alpha, "AVIF")]
    return tuple(made)


def _file(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def damaged(rng: random.Random, corpus: Sequence[bytes], repair: Repair | None = None) -> bytes:
    """A file of `corpus` with one to four random faults; half of them with their checksums set right again."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 4)):
        rng.choice(_FAULTS)(rng, data, corpus)
    found = bytes(data[:_LARGEST_BYTES])
    return repair(found) if repair is not None and rng.random() < 0.5 else found


def damaged_json(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A JSON document of `corpus` with one to three faults that leave it JSON: values changed, missing, repeated, deep.

    Every fourth is damaged as other files are.
    """
    if rng.random() < 0.25:
        return damaged(rng, corpus)
    document = [json.loads(rng.choice(corpus))]
    for _ in range(rng.randint(1, 3)):
        holder: Any = document
        while True:
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if not (isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.8):
                break
            holder = holder[key]
        rng.choice(_JSON_FAULTS)(rng, holder, key)
        document = document or [None]
    return json.dumps(document[0]).encode()[:_LARGEST_BYTES]


def _other_value(rng: random.Random, holder: Any, key: Any) -> None:
    holder[key] = rng.choice(_ODD_VALUES)


def _near_value(rng: random.Random, holder: Any, key: Any) -> None:
    """A number that is another one, text that is cut, a list that is shorter or longer."""
    found = holder[key]
    if isinstance(found, (str, list)):
        holder[key] = rng.choice((found[:-1], found * 2))
    elif isinstance(found, (int, float)):
        holder[key] = rng.choice((-found, found + 1, found * 1000))
    else:
        _other_value(rng, holder, key)


def _remove(rng: random.Random, holder: Any, key: Any) -> None:
    del holder[key]


def _swap(rng: random.Random, holder: Any, key: Any) -> None:
    other = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[key], holder[other] = holder[other], holder[key]


def _deepen(rng: random.Random, holder: Any, key: Any) -> None:
    for _ in range(rng.choice((1, 20, 200))):
        holder[key] = [holder[key]]


_JSON_FAULTS = (_other_value, _other_value, _near_value, _near_value, _remove, _swap, _deepen)


def _flip(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    """A number at a limit of its type, where sizes and counts often stand: near the start as often as elsewhere."""
    size = rng.choice((1, 2, 4, 8))
    place = rng.randrange(min(len(data), rng.choice((64, len(data)))) or 1) if data else 0
    value = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    data[place : place + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _truncate(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _drop(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    place = rng.randrange(len(data) + 1)
    del data[place : place + rng.randint(1, 64)]


def _repeat(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = data[place : place + rng.randint(1, 600)] * rng.randint(1, 4)


def _insert(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.randbytes(rng.randint(1, 16))


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]


_FAULTS = (_flip, _flip, _number, _number, _truncate, _drop, _repeat, _insert, _splice)


def with_png_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right CRC, so that faults reach behind it; other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, place = bytearray(data), 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        end = place + 8 + size
        if end + 4 > len(data):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def with_tar_checksums(data: bytes) -> bytes:
    """A tar whose headers have the right checksum (POSIX 1003.1, ustar: the sum of the bytes, its own field blank)."""
    mended = bytearray(data)
    for place in range(0, len(data) - 511, 512):
        if data[place + 257 : place + 262] == b"ustar":
            mended[place + 148 : place + 156] = b" " * 8
            mended[place + 148 : place + 156] = b"%06o\0 " % sum(mended[place : place + 512])
    return bytes(mended)


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    """ "read" or "refused"; any exception but edgeclf's own gets through, and is a fault."""
    try:
        read(data)
    except EdgeclfError:
        return "refused"
    return "read"
