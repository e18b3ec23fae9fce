"""PNG: the transparent colour at every depth, and metadata that must not cost the image."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode

BACKGROUND = (10, 200, 30)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def levels(source: Any, **options: Any) -> NDArray[np.uint8]:
    image = decode(source, **options).image
    assert image.mode == "RGB"
    return np.asarray(image)


def chunk(name: bytes, data: bytes, *, sound: bool = True) -> bytes:
    checksum = zlib.crc32(name + data) ^ (not sound)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(
    values: NDArray[Any], depth: int, transparent: tuple[int, ...] | None = None, *, interlaced: bool = False
) -> bytes:
    """(H, W) or (H, W, 3) integers of `depth` bits as a PNG (https://www.w3.org/TR/png-3/)."""
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, 0 if values.ndim == 2 else 2, 0, 0, interlaced)
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first row, first column, steps
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, across in passes:
        for row in values[top::down, left::across]:
            if row.size:
                bits = (row.reshape(-1, 1).astype(np.int64) >> np.arange(depth - 1, -1, -1)) & 1
                rows += b"\0" + np.packbits(bits.astype(np.uint8)).tobytes()
    hidden = b"" if transparent is None else chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    return SIGNATURE + chunk(b"IHDR", header) + hidden + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# -- the transparent colour


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_any_depth_shows_the_background(depth: int, interlaced: bool) -> None:
    most = (1 << depth) - 1
    values = (np.arange(17 * 13).reshape(17, 13) * max(1, most // 200)) % (most + 1)
    for hidden in {0, most // 2, most, int(values[3, 3])}:
        found = levels(png(values, depth, (hidden,), interlaced=interlaced), background=BACKGROUND)
        wanted = np.repeat(np.rint(values / most * 255)[:, :, None], 3, axis=2)
        wanted[values == hidden] = BACKGROUND
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_is_compared_in_all_of_its_bits(depth: int, interlaced: bool) -> None:
    most = (1 << depth) - 1
    values = np.random.default_rng(0).integers(most + 1, size=(17, 13, 3))
    hidden = tuple(map(int, values[5, 5]))
    values[2, 7], values[9, 1] = hidden, hidden
    values[4, 4] = (*hidden[:2], hidden[2] ^ 1)  # differs in the lowest bit: of 16, the one that Pillow drops
    found = levels(png(values, depth, hidden, interlaced=interlaced), background=BACKGROUND)
    wanted = values >> (depth - 8)
    wanted[(values == hidden).all(axis=2)] = BACKGROUND
    assert np.array_equal(found, wanted)
    assert tuple(found[4, 4]) != BACKGROUND and tuple(found[2, 7]) == BACKGROUND


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_bits_of_the_transparent_colour_beyond_the_depth_are_ignored(depth: int) -> None:
    values = np.arange(4).reshape(2, 2) % (1 << depth)
    assert np.array_equal(levels(png(values, depth, (0xFF00 | 1,))), levels(png(values, depth, (1,))))


def test_a_value_range_keeps_the_transparent_grey() -> None:
    values = np.array([[0, 1000, 2000, 4095]])
    found = levels(png(values, 16, (1000,)), value_range=(0, 4095), background=BACKGROUND)
    assert found[0].tolist() == [[0, 0, 0], [*BACKGROUND], [125, 125, 125], [255, 255, 255]]


def test_orientation_turns_the_background_with_the_image() -> None:
    values = np.zeros((2, 3), int)
    values[0, 0] = 5
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
    data = png(values, 4, (5,))
    place = data.index(b"IDAT") - 4
    found = levels(data[:place] + chunk(b"eXIf", exif) + data[place:], background=BACKGROUND)
    assert found.shape == (3, 2, 3) and tuple(found[0, 1]) == BACKGROUND


# -- every kind, against a second library


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_kind_shows_what_imagecodecs_reads(depth: int, channels: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    dtype = np.uint8 if depth == 8 else np.uint16
    values = np.random.default_rng(1).integers(1 << depth, size=(23, 31, channels), dtype=dtype)
    data = imagecodecs.png_encode(values if channels > 1 else values[:, :, 0])
    stored = imagecodecs.png_decode(data).reshape(values.shape).astype(np.float64)
    colours = np.repeat(stored[:, :, :1], 3, axis=2) if channels < 3 else stored[:, :, :3]
    alpha = stored[:, :, -1:] / ((1 << depth) - 1) if channels in (2, 4) else 1.0
    wanted = colours * (255 / ((1 << depth) - 1)) * alpha + np.multiply(BACKGROUND, 1 - alpha)
    assert np.abs(levels(data, background=BACKGROUND) - wanted).max() <= 2


# -- metadata


def with_chunk(extra: bytes, *, behind: bool = False) -> tuple[bytes, NDArray[np.uint8]]:
    image = tiny.images(1)[0]
    data = tiny.encoded(image, "PNG")
    place = data.index(b"IEND" if behind else b"IDAT") - 4
    return data[:place] + extra + data[place:], np.asarray(image)


BAD = {
    "over 1 MB of compressed text": chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(2_000_000))),
    "over 1 MB of international text": chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"x" * 2_000_000)),
    "a profile of an unknown compression": chunk(b"iCCP", b"profile\0\1" + zlib.compress(b"x")),
    "a profile over 1 MB": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
    "an empty profile": chunk(b"iCCP", b""),
    "a text of a wrong checksum": chunk(b"tEXt", b"note\0words", sound=False),
    "a time of a wrong checksum": chunk(b"tIME", bytes(7), sound=False),
    "a gamma that is cut": chunk(b"gAMA", b"\0"),
    "text of an unknown compression": chunk(b"zTXt", b"note\0\7abc"),
    "a chunk of another program with a wrong checksum": chunk(b"prVt", b"own", sound=False),
    "an animation's header that is cut": chunk(b"acTL", b"\0"),
    "an animation's frame that is cut": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"12"),
    "65 MB of text in pieces": chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(1_000_000))) * 68,
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_metadata_costs_a_note_and_not_the_image(name: str, behind: bool) -> None:
    data, wanted = with_chunk(BAD[name], behind=behind)
    decoded = decode(data)
    assert np.array_equal(np.asarray(decoded.image), wanted)
    if not behind:  # behind the pixels Pillow itself passes over some of it
        assert decoded.notes[-1] == f"metadata that is damaged or over 1 MB was left out ({left_out(name)})"


def left_out(name: str) -> str:
    return "fcTL" if "frame" in name else BAD[name][4:8].decode()


def test_good_metadata_costs_no_note_and_bad_one_leaves_the_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image, text = tiny.images(1)[0], PngInfo()
    text.add_text("note", "words", zip=True)
    data = tiny.encoded(image, "PNG", exif=exif, pnginfo=text)
    assert decode(data).notes == ()
    place = data.index(b"IDAT") - 4
    turned = decode(data[:place] + BAD["an empty profile"] + data[place:])
    assert np.array_equal(np.asarray(turned.image), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


@pytest.mark.parametrize("name", [b"IHDR", b"tRNS"])
def test_a_wrong_checksum_of_header_or_transparency_is_still_damage(name: bytes) -> None:
    data = png(np.arange(4).reshape(2, 2), 4, (1,))
    place = data.index(name)
    length = int.from_bytes(data[place - 4 : place], "big")
    broken = bytearray(data)
    broken[place + 4 + length] ^= 1
    with pytest.raises(ImageError, match=f"damaged image: the checksum of its {name.decode()} chunk is wrong"):
        decode(bytes(broken))


def test_what_a_png_lacks_is_named() -> None:
    data = png(np.arange(4).reshape(2, 2), 4)
    with pytest.raises(ImageError, match="damaged image: it is cut before its pixels"):
        decode(data[: data.index(b"IDAT") - 4])
    header = bytearray(data[12:29])
    header[13] = 3  # colours of a palette
    data = data[:8] + chunk(b"IHDR", bytes(header[4:])) + data[33:]
    with pytest.raises(ImageError, match="damaged image: its palette is missing"):
        decode(data)


def test_pillows_limits_stay_as_they_are() -> None:
    from PIL import ImageFile, PngImagePlugin

    before = PngImagePlugin.MAX_TEXT_CHUNK, ImageFile.LOAD_TRUNCATED_IMAGES
    decode(io.BytesIO(with_chunk(BAD["over 1 MB of compressed text"])[0]))
    assert before == (PngImagePlugin.MAX_TEXT_CHUNK, ImageFile.LOAD_TRUNCATED_IMAGES)
