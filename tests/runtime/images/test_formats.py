"""Formats by their first bytes: what phones write, BMP with unused bytes, and the exact reason of each refusal."""

from __future__ import annotations

import base64
import io
import mmap
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode, find_images
from edgeclf_runtime.images.formats import modern_kind
from edgeclf_runtime.images.limits import Limits

BACKGROUND = (10, 200, 30)
# 64x64, the left half (200, 40, 40), the right half (40, 60, 200): made by pillow-heif
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAABegABAAAAAAAAACwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlw"
    "cnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AA"
    "AAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAA"
    "AABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAADRtZGF0AAAAKCgBrwngITl1X//8aT//+/oPIfsFGWf/"
    "+yIwd/eFH//tkyPVf1/+ZP8="
)


def levels(source: Any, **options: Any) -> NDArray[np.uint8]:
    image = decode(source, **options).image
    assert image.mode == "RGB"
    return np.asarray(image)


def box(major: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO base media file (ISO/IEC 14496-12)."""
    brands = major + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (HEIC, "HEIC"),
        (box(b"heix", b"mif1"), "HEIC"),
        (box(b"mif1", b"mif1", b"heic"), "HEIC"),
        (box(b"msf1", b"hevc"), "HEIC"),
        (box(b"avif", b"mif1", b"miaf"), "AVIF"),
        (box(b"mif1", b"miaf", b"avif"), "AVIF"),
        (box(b"avis", b"avif"), "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(20), "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (box(b"isom", b"mp42"), None),
        (b"\xff\xd8\xff\xe0" + bytes(20), None),
        (b"", None),
    ],
)
def test_the_first_bytes_show_the_kind(data: bytes, kind: str | None) -> None:
    assert modern_kind(data) == kind


# -- HEIC


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pi_heif", "pi_heif.as_plugin"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_heif")
def test_heic_without_the_extra_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "renamed.jpg").write_bytes(HEIC)
    for source in (HEIC, tmp_path / "renamed.jpg"):
        with pytest.raises(ImageError, match=r"HEIC, as phones write it: install edgeclf\[heif\], or convert to JPEG"):
            decode(source)


def test_heic_is_decoded_with_the_extra_and_within_the_limits() -> None:
    pytest.importorskip("pi_heif")
    found = levels(HEIC).astype(int)
    assert found.shape == (64, 64, 3)
    assert np.abs(found[:, 4:28] - (200, 40, 40)).max() < 12
    assert np.abs(found[:, 36:60] - (40, 60, 200)).max() < 12
    with pytest.raises(ImageError, match="megapixels, over the limit"):
        decode(HEIC, limits=Limits(megapixels=0.001))
    with pytest.raises(ImageError, match="damaged"):
        decode(HEIC[:-20])


# -- AVIF and JPEG 2000


def modern_files(kind: str) -> dict[str, tuple[bytes, NDArray[np.uint8]]]:
    picture = tiny.images(1)[0]
    images = {mode: picture.convert(mode) for mode in ("RGB", "RGBA", "L")}
    images["RGBA"].putalpha(images["L"])
    options = {"AVIF": {"quality": 100, "subsampling": "4:4:4"}, "JPEG2000": {}}[kind]
    return {mode: (tiny.encoded(image, kind, **options), np.asarray(image)) for mode, image in images.items()}


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_avif_and_jpeg_2000_are_decoded_where_pillow_has_them(kind: str) -> None:
    if kind == "AVIF":
        pytest.importorskip("PIL._avif")
    for mode, (data, stored) in modern_files(kind).items():
        colours = np.repeat(stored[:, :, None], 3, axis=2) if mode == "L" else stored[:, :, :3]
        alpha = stored[:, :, 3:] / 255 if mode == "RGBA" else 1.0
        wanted = colours * alpha + np.multiply(BACKGROUND, 1 - alpha)
        found = levels(data, background=BACKGROUND)
        assert np.abs(found - wanted).mean() < 1 and np.abs(found - wanted).max() < (16 if kind == "AVIF" else 1.01)
        with pytest.raises(ImageError, match="megapixels, over the limit"):
            decode(data, limits=Limits(megapixels=0.001))
        with pytest.raises(ImageError, match="damaged"):
            decode(data[: len(data) // 2])


def test_avif_without_its_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf_runtime.images.formats.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"AVIF, which this Pillow can't decode: update it"):
        decode(box(b"avif", b"mif1"))


def test_deep_jpeg_2000_reaches_from_black_to_white_and_shallow_one_is_refused() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    shares = np.linspace(0, 1, 32 * 48).reshape(32, 48)
    for bits in (10, 12, 16):
        data = imagecodecs.jpeg2k_encode(
            np.rint(shares * ((1 << bits) - 1)).astype(np.uint16), bitspersample=bits, level=0, reversible=True
        )
        assert np.abs(levels(data)[:, :, 0] - shares * 255).max() <= 1
        with pytest.raises(ImageError, match="can't take a value range"):
            decode(data, value_range=(0, 4095))
    shallow = imagecodecs.jpeg2k_encode(np.rint(shares * 15).astype(np.uint8), bitspersample=4, level=0)
    with pytest.raises(ImageError, match="JPEG 2000 of 4 bits a channel is not supported"):
        decode(shallow)


def test_jpeg_xl_is_named() -> None:
    with pytest.raises(ImageError, match="JPEG XL, which Pillow can't decode"):
        decode(b"\xff\x0a" + bytes(99))


def test_files_of_phones_are_found_in_a_folder(tmp_path: Path) -> None:
    names = ["a.HEIC", "b.heif", "c.avif", "d.jp2", "e.jxl", "f.hif"]
    for name in names:
        (tmp_path / name).write_bytes(HEIC)
    assert [path.name for path in find_images(tmp_path)[0]] == names


# -- BMP and JPEG by their headers


def bmp(bits: int, compression: int, masks: tuple[int, ...], pixels: bytes, *, header: int = 40) -> bytes:
    """A BMP of 2x1 pixels (https://learn.microsoft.com/windows/win32/gdi/bitmap-storage)."""
    info = struct.pack("<IiiHHIIiiII", header, 2, 1, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0")
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + pixels


MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
UNUSED = bytes((10, 20, 30, 0, 40, 50, 60, 0))


@pytest.mark.parametrize(
    "data",
    [
        bmp(32, 0, (), UNUSED),
        bmp(32, 3, MASKS, UNUSED, header=56),
        bmp(32, 3, MASKS, UNUSED, header=108),
        bmp(32, 3, MASKS, UNUSED, header=124),
    ],
)
def test_a_bmp_whose_alpha_is_all_zero_is_opaque(data: bytes) -> None:
    assert levels(data, background=BACKGROUND).tolist() == [[[30, 20, 10], [60, 50, 40]]]


def test_a_bmp_with_real_alpha_shows_the_background() -> None:
    pixels = bytes((10, 20, 30, 0, 40, 50, 60, 255))
    data = bmp(32, 3, MASKS, pixels, header=108)
    assert levels(data, background=BACKGROUND).tolist() == [[list(BACKGROUND), [60, 50, 40]]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bmp(0, 4, (), UNUSED), "BMP of JPEG data is not supported; convert it to PNG"),
        (bmp(0, 5, (), UNUSED), "BMP of PNG data is not supported"),
        (bmp(64, 0, (), UNUSED * 2), "BMP of 64 bits a pixel is not supported"),
        (bmp(2, 0, (), UNUSED), "BMP of 2 bits a pixel is not supported"),
        (bmp(16, 3, (0xF00, 0xF0, 0xF), UNUSED), "BMP of 16 bits with the masks 0xf00, 0xf0, 0xf is not supported"),
        (bmp(16, 3, (0x7C00, 0x3E0, 0x1F, 0x8000), UNUSED[:4], header=108), "BMP of 16 bits with transparency"),
        (bmp(32, 6, MASKS, UNUSED), "BMP of alpha bit field data is not supported"),
        (bmp(24, 0, (), UNUSED, header=99), "BMP with a header of 99 bytes is not supported"),
        (bmp(24, 0, (), b"")[:50], "damaged image"),
        (bmp(16, 3, (0xF800, 0x7E0, 0x1F), b""), "damaged image"),
    ],
)
def test_an_unsupported_bmp_is_refused_with_what_it_holds(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_jpeg_2000_of_signed_values_is_refused(dtype: Any) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpeg2k_encode(np.arange(-64, 64, dtype=dtype).reshape(8, 16), level=0, reversible=True)
    with pytest.raises(ImageError, match="JPEG 2000 of signed values is not supported"):
        decode(data)


def test_a_12_bit_jpeg_is_named() -> None:
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC1, 11, 12, 8, 8, 1) + bytes((1, 0x11, 0))
    with pytest.raises(ImageError, match="JPEG of 12 bits is not supported"):
        decode(b"\xff\xd8" + frame + b"\xff\xda" + bytes(99) + b"\xff\xd9")


# -- against a second library


def rgb() -> NDArray[np.uint8]:
    y, x = np.mgrid[:32, :48]
    return np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8)


def codecs() -> dict[str, tuple[Callable[[Any], bytes], Callable[[Any], NDArray[np.uint8]], float]]:
    imagecodecs = pytest.importorskip("imagecodecs")
    return {
        "JPEG": (lambda a: imagecodecs.jpeg8_encode(a, level=95), imagecodecs.jpeg8_decode, 0),
        "RGB JPEG": (
            lambda a: imagecodecs.jpeg8_encode(a, level=95, outcolorspace="rgb"),
            imagecodecs.jpeg8_decode,
            0,
        ),
        "lossless WebP": (lambda a: imagecodecs.webp_encode(a, lossless=True), imagecodecs.webp_decode, 0),
        "WebP": (lambda a: imagecodecs.webp_encode(a, level=80), imagecodecs.webp_decode, 0),
        "JPEG 2000": (lambda a: imagecodecs.jpeg2k_encode(a, level=60), imagecodecs.jpeg2k_decode, 0),
        "BMP": (imagecodecs.bmp_encode, imagecodecs.bmp_decode, 0),
    }


@pytest.mark.parametrize("kind", ["JPEG", "RGB JPEG", "lossless WebP", "WebP", "JPEG 2000", "BMP"])
def test_other_formats_show_what_imagecodecs_reads(kind: str) -> None:
    encode, again, tolerance = codecs()[kind]
    data = encode(rgb())
    assert np.abs(levels(data).astype(int) - again(data)[:, :, :3]).max() <= tolerance


def test_a_file_object_at_its_end_is_read_from_its_start_and_elsewhere_from_there() -> None:
    data, written = tiny.encoded(tiny.images(1)[0], "PNG"), io.BytesIO()
    written.write(data)
    assert np.array_equal(levels(written), levels(data))
    framed = io.BytesIO(b"header" + data)
    framed.seek(6)
    assert np.array_equal(levels(framed), levels(data))
    with pytest.raises(ImageError, match=r"empty \(0 bytes\)"):
        decode(io.BytesIO())


def test_a_memory_map_and_16_bit_numbers_of_the_other_byte_order_are_read(tmp_path: Path) -> None:
    image = tiny.images(1)[0]
    image.save(tmp_path / "a.png")
    with open(tmp_path / "a.png", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for _ in range(2):  # from its start, then from its end
            assert np.array_equal(levels(mapped), np.asarray(image))
    deep = np.asarray(image).astype(np.uint16) * 257
    assert np.array_equal(levels(deep.astype(">u2")), levels(deep))


def test_pillows_own_log_does_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded")
    assert isinstance(logging.getLogger("PIL").handlers[0], logging.NullHandler)
    assert capfd.readouterr().err == ""


def test_a_gif_shows_its_background_below(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([90, 90, 90, 1, 2, 3])
    image.putpixel((1, 0), 1)
    data = tiny.encoded(image, "GIF", transparency=0)
    assert levels(data, background=BACKGROUND).tolist() == [[list(BACKGROUND), [1, 2, 3]]]
