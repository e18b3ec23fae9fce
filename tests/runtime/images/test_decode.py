"""Image files as they come: each fault of an image file ends in the right pixels or in an ImageError."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits

WHITE = (255, 255, 255)


def levels(source: Any, **options: Any) -> NDArray[np.uint8]:
    image = decode(source, **options).image
    assert image.mode == "RGB"
    return np.asarray(image)


def photograph() -> Image.Image:
    return tiny.images(1)[0]


def ramp16() -> NDArray[np.uint16]:
    """(64, 64) uint16 over the whole range."""
    return np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand (https://www.w3.org/TR/png-3/), for what Pillow can't write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# -- damage


def test_an_empty_file_is_reported_as_empty() -> None:
    with pytest.raises(ImageError, match="0 bytes"):
        decode(b"")


@pytest.mark.parametrize("data", [b"these are words\n" * 9, b"\0" * 999])
def test_what_is_no_image_is_refused_whatever_its_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_bytes(data)
    with pytest.raises(ImageError, match="not an image of a known format"):
        decode(tmp_path / "words.jpg")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_jpeg_is_damaged_not_grey(share: float) -> None:
    data = tiny.encoded(photograph())
    with pytest.raises(ImageError, match="damaged"):
        decode(data[: int(len(data) * share)])


def containers() -> dict[str, bytes]:
    image, exif = photograph(), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    deep = Image.fromarray(ramp16())
    return {
        "jpeg": tiny.encoded(image, exif=exif),
        "progressive": tiny.encoded(image, progressive=True),
        "png": tiny.encoded(image, "PNG"),
        "png16": tiny.encoded(deep, "PNG"),
        "webp": tiny.encoded(image, "WEBP"),
        "bmp": tiny.encoded(image, "BMP"),
        "gif": tiny.encoded(image, "GIF", save_all=True, append_images=[image.rotate(9)]),
        "tiff": tiny.encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff16": tiny.encoded(deep, "TIFF"),
        "ppm": tiny.encoded(image, "PPM"),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", containers())
def test_flipped_bits_give_pixels_or_an_image_error_and_nothing_else(kind: str) -> None:
    random = np.random.default_rng(0)
    data = containers()[kind]
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(data)
        reach = len(data) if random.random() < 0.4 else min(len(data), 200)  # headers matter most
        for position in random.integers(reach, size=random.integers(1, 6)):
            damaged[position] ^= 1 << int(random.integers(8))
        try:
            outcomes.add(decode(bytes(damaged)).image.mode)
        except ImageError:
            outcomes.add("refused")
    assert "refused" in outcomes and outcomes <= {"RGB", "refused"}


def test_odd_exif_does_not_lose_the_image() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + bytes.fromhex("0112 0003 00000001 0006 0000 0100 0004 00000001 000000ff")
    with Image.open(io.BytesIO(tiny.encoded(photograph(), exif=exif + b"\0" * 4))) as stored:
        upright = np.asarray(stored.transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(levels(tiny.encoded(photograph(), exif=exif + b"\0" * 4)), upright)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_that_is_none_does_not_lose_the_image(kind: str) -> None:
    data = tiny.encoded(photograph(), kind, exif=b"Exif\0\0no TIFF at all")
    with Image.open(io.BytesIO(data)) as stored:
        assert np.array_equal(levels(data), np.asarray(stored.convert("RGB")))


# -- colour, depth, transparency


def test_cmyk_becomes_the_colours_that_it_prints() -> None:
    inks = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert (levels(tiny.encoded(inks, "TIFF")) == (255, 0, 0)).all()
    assert np.abs(levels(tiny.encoded(inks, quality=100)).astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = ramp16()
    found = levels(tiny.encoded(Image.fromarray(values), kind))
    assert np.array_equal(found[:, :, 0], np.rint(values / 257).astype(np.uint8))
    assert len(np.unique(found)) == 256


def test_big_endian_16_bit_grey_is_scaled_too() -> None:
    image = Image.new("I;16B", (2, 1))
    image.putpixel((1, 0), 65535)
    assert levels(tiny.encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 255]


def test_16_bit_colour_is_scaled_not_clipped() -> None:
    colours = np.array([[[0, 0x8000, 0xFFFF], [0x4000, 0x0100, 0xFE00]]], dtype=">u2")
    data = png(2, 1, 16, 2, zlib.compress(b"\0" + colours.tobytes()))
    assert levels(data).tolist() == [[[0, 128, 255], [64, 1, 254]]]


def test_a_value_range_shows_a_12_bit_image_whole() -> None:
    values = np.linspace(0, 4095, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    data = tiny.encoded(Image.fromarray(values), "PNG")
    assert levels(data).max() == 16
    assert np.array_equal(levels(data, value_range=(0, 4095))[:, :, 1], np.rint(values / 4095 * 255))
    windowed = levels(data, value_range=(1000, 2000))
    assert (windowed[values <= 1000] == 0).all() and (windowed[values >= 2000] == 255).all()


def test_a_value_range_that_pillow_would_miss_is_refused() -> None:
    colours = png(1, 1, 16, 2, zlib.compress(b"\0" + bytes(6)))
    twelve_bits = b"P5 2 1 4095\n" + bytes.fromhex("0000 0fff")
    assert levels(twelve_bits)[0, :, 0].tolist() == [0, 255]
    for data in (colours, twelve_bits):
        with pytest.raises(ImageError, match="can't take a value range"):
            decode(data, value_range=(0, 4095))


def test_32_bit_integers_need_a_range() -> None:
    data = tiny.encoded(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "TIFF")
    with pytest.raises(ImageError, match="range of values to show"):
        decode(data)
    assert levels(data, value_range=(0, 70000))[0, :, 0].tolist() == [0, 255]


def test_float_pixels_are_refused_with_the_reason() -> None:
    with pytest.raises(ImageError, match="floating-point pixels have no agreed range"):
        decode(tiny.encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("background", [WHITE, (10, 200, 30)])
def test_transparent_pixels_show_the_background_not_what_is_hidden_below(
    mode: str, background: tuple[int, int, int]
) -> None:
    image = Image.new("RGBA", (2, 1), (90, 90, 90, 0))
    image.putpixel((1, 0), (90, 90, 90, 255))
    options = {}
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([90, 90, 90, 90, 90, 90])
        image.putpixel((1, 0), 1)
        options["transparency"] = b"\0\xff"
    found = levels(tiny.encoded(image if mode == "P" else image.convert(mode), "PNG", **options), background=background)
    assert found[0].tolist() == [list(background), [90, 90, 90]]


def test_half_transparent_pixels_are_mixed() -> None:
    found = levels(tiny.encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG"), background=(200, 100, 0))
    assert np.abs(found.astype(int) - (100, 50, 0)).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_other_8_bit_modes_become_rgb(mode: str) -> None:
    image = photograph().convert(mode)
    assert np.array_equal(levels(tiny.encoded(image, "TIFF")), np.asarray(image.convert("RGB")))


# -- orientation, frames, sizes


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: a.transpose(1, 0, 2)[:, ::-1]),
        (7, lambda a: a.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda a: a.transpose(1, 0, 2)[::-1]),
        (9, lambda a: a),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int, turned: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = tiny.encoded(photograph(), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        raw = np.asarray(stored.convert("RGB")) if kind != "TIFF" else np.asarray(photograph())
    assert np.array_equal(levels(data), turned(raw))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_used_and_noted(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(tiny.encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert decoded.notes == ("3 frames: the first is used",)
    assert (np.asarray(decoded.image) == (255, 0, 0)).all()


def test_a_single_frame_is_not_noted() -> None:
    assert decode(tiny.encoded(photograph(), "GIF")).notes == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_decode(size: tuple[int, int]) -> None:
    assert decode(tiny.encoded(Image.new("RGB", size), "PNG")).image.size == size


def lossless_webp(side: int) -> bytes:
    """A small VP8L file whose header (14 bits each: width - 1, height - 1) claims side x side."""
    data = bytearray(tiny.encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    start = data.index(b"VP8L") + 9
    rest = struct.unpack_from("<I", data, start)[0] >> 28 << 28
    struct.pack_into("<I", data, start, rest | (side - 1) << 14 | (side - 1))
    return bytes(data)


BOMBS = {
    "PNG of 100 MP": lambda: png(10000, 10000, 8, 2, b""),
    "PNG of 196 MP": lambda: png(14000, 14000, 8, 2, b""),
    "full PNG of 100 MP": lambda: png(10000, 10000, 1, 0, zlib.compress(bytes(10000 * 1251), 9)),
    "WebP of 196 MP": lambda: lossless_webp(14000),
    "GIF of 4295 MP": lambda: (
        b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"," + bytes(4) + b"\xff" * 4 + b"\0\x02\0;"
    ),
    "BMP of 400 MP": lambda: b"BM" + struct.pack("<IIIIiiHHII", 54, 0, 54, 40, 20000, 20000, 1, 24, 0, 0) + bytes(16),
    "PPM of 100 MP": lambda: b"P6 10000 10000 255\n",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_by_its_size(name: str) -> None:
    with pytest.raises(ImageError, match=r"megapixels, over the limit|decompression bomb"):
        decode(BOMBS[name]())


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    for name, bomb in BOMBS.items():
        (tmp_path / f"{name}.png").write_bytes(bomb())
    script = """
import resource, sys
from pathlib import Path
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, refused = peak(), 0
for path in Path(sys.argv[1]).iterdir():
    try:
        decode(path)
    except ImageError:
        refused += 1
print(refused, peak() - before)
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    refused, mebibytes = result.stdout.split()
    assert int(refused) == len(BOMBS)
    assert float(mebibytes) < 40  # decoding one of them would take 286 MiB or more


def test_a_file_over_the_byte_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take a tebibyte
    with pytest.raises(ImageError, match="over the limit of 64 MB"):
        decode(path)
    with path.open("rb") as file, pytest.raises(ImageError, match="over the limit"):
        decode(file, limits=Limits(megabytes=0.1))


def test_limits_can_be_raised() -> None:
    data = tiny.encoded(Image.new("RGB", (300, 300)))
    with pytest.raises(ImageError, match=r"300x300 is 0\.09 megapixels, over the limit of 0\.05"):
        decode(data, limits=Limits(megapixels=0.05))
    assert decode(data, limits=Limits(megapixels=0.1)).image.size == (300, 300)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript, which is not decoded"),
        (b"SIMPLE  =                    T" + b" " * 2850, "an image of a rare format, which is not decoded"),
        (b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(99), "a Photoshop file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG or other XML"),
        (b"\xef\xbb\xbf<!DOCTYPE html><title>404</title>", "a web page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "get it with: git lfs pull"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "a video, which is not decoded"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "a camera's raw file"),
        (bytes(128) + b"DICM" + bytes(9), "a DICOM file"),
        (tiny.encoded(tiny.images(1)[0], "ICO"), "a Windows icon"),
        (tiny.encoded(tiny.images(1)[0], "TGA"), "not an image of a known format"),
    ],
)
def test_formats_off_the_allow_list_are_refused_by_name(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "renamed.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=what):
        decode(path)


def test_tiff_pages_of_other_sizes_do_not_pass_the_limit() -> None:
    pages = [Image.new("L", (8, 8)), Image.new("L", (3000, 3000))]
    data = tiny.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decode(data, limits=Limits(megapixels=0.01)).image.size == (8, 8)
