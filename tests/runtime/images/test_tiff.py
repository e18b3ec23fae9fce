"""TIFF of every kind: its pixels are those that a second library reads, or it is refused by name."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits

HEIGHT, WIDTH = 19, 37
BACKGROUND = (10, 200, 30)
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def levels(source: Any, **options: Any) -> NDArray[np.uint8]:
    image = decode(source, **options).image
    assert image.mode == "RGB"
    return np.asarray(image)


def ramp(bits: int, channels: int) -> NDArray[np.uint32]:
    """(HEIGHT, WIDTH, channels) over all values of `bits`."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    shares = np.stack([(x * (c + 1) * 7 + y * 11 * (c + 2)) % 256 for c in range(channels)], -1) / 255
    return np.rint(shares * ((1 << bits) - 1)).astype(np.uint32)


def packed(values: NDArray[Any], bits: int, order: str) -> bytes:
    """(H, W) integers as a TIFF stores them: below 16 bits each row begins a byte, the highest bit first."""
    if bits in (16, 32):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    each = (values[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def tiff(order: str, tags: dict[int, tuple[int, ...]], strip: bytes) -> bytes:
    """A TIFF by hand, for what no writer offers; `tags` besides size and place of its one strip."""
    every = {256: (WIDTH,), 257: (HEIGHT,), 259: (1,), 277: (1,), 278: (HEIGHT,), **tags, 273: (8,), 279: (len(strip),)}
    strip += bytes(len(strip) % 2)
    directory, far = struct.pack(f"{order}H", len(every)), b""
    far_place = 8 + len(strip) + 2 + 12 * len(every) + 4
    for tag, values in sorted(every.items()):
        code, kind = ("I", 4) if tag in (256, 257, 273, 278, 279) else ("H", 3)
        raw = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(raw) > 4:
            far, raw = far + raw, struct.pack(f"{order}I", far_place + len(far))
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(strip))
    return head + strip + directory + bytes(4) + far


def grey(bits: int, *, photometric: int = 1, order: str = "<", sample_format: int = 1, compression: int = 1) -> bytes:
    raw = packed(ramp(bits, 1)[:, :, 0], bits, order)
    tags = {258: (bits,), 259: (compression,), 262: (photometric,), 339: (sample_format,)}
    return tiff(order, tags, zlib.compress(raw) if compression == 8 else raw)


# -- grey of any depth


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_white_is_zero_is_the_negative_of_black_is_zero(bits: int, order: str, compression: int) -> None:
    black = levels(grey(bits, order=order, compression=compression))
    white = levels(grey(bits, photometric=0, order=order, compression=compression))
    assert np.array_equal(black[:, :, 0], np.rint(ramp(bits, 1)[:, :, 0] * (255 / ((1 << bits) - 1))))
    assert np.array_equal(white, 255 - black)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("photometric", [0, 1])
def test_12_bits_reach_from_black_to_white(photometric: int, compression: int) -> None:
    found = levels(grey(12, photometric=photometric, compression=compression))[:, :, 0]
    wanted = np.rint(ramp(12, 1)[:, :, 0] / 4095 * 255)
    assert np.array_equal(found, wanted if photometric else 255 - wanted)


@pytest.mark.parametrize(("bits", "order"), [(8, "<"), (8, ">"), (16, "<"), (16, ">"), (32, "<"), (32, ">")])
def test_signed_integers_need_a_range_and_then_keep_their_sign(bits: int, order: str) -> None:
    data = grey(bits, sample_format=2, order=order)
    with pytest.raises(ImageError, match=f"signed {bits}-bit integers; give the range of values to show"):
        decode(data)
    half = 1 << (bits - 1)
    stored = ramp(bits, 1)[:, :, 0].astype(np.int64)
    signed = np.where(stored >= half, stored - 2 * half, stored)
    found = levels(data, value_range=(-half, half - 1))[:, :, 0]
    assert np.abs(found - (signed + half) * (255 / (2 * half - 1))).max() <= 0.51


def test_a_value_range_of_white_is_zero_is_in_stored_values() -> None:
    data = tiff("<", {258: (16,), 262: (0,)}, packed(ramp(12, 1)[:, :, 0], 16, "<"))
    assert np.array_equal(
        levels(data, value_range=(0, 4095))[:, :, 0], 255 - np.rint(ramp(12, 1)[:, :, 0] / 4095 * 255)
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (grey(10), "TIFF of 10-bit grey is not supported"),
        (grey(14, photometric=0), r"TIFF of 14-bit grey \(white is zero\) is not supported"),
        (grey(32), "32-bit integers; give the range of values to show"),
        (grey(12, sample_format=2), "signed 12-bit integers"),
        (
            tiff("<", {258: (16,), 262: (1,), 339: (3,)}, bytes(2 * HEIGHT * WIDTH)),
            "16-bit floating-point pixels",
        ),
        (
            tiff(">", {258: (64,), 262: (1,), 339: (3,)}, bytes(8 * HEIGHT * WIDTH)),
            "64-bit floating-point pixels",
        ),
        (tiff("<", {258: (64,), 262: (1,), 339: (6,)}, bytes(8 * HEIGHT * WIDTH)), "complex pixels are no image"),
        (tiff("<", {258: (8,) * 3, 262: (8,), 277: (3,)}, bytes(3 * HEIGHT * WIDTH)), "LAB colours are not supported"),
        (tiff("<", {258: (8,), 262: (1,), 259: (34712,)}, b"?"), "TIFF with JPEG 2000 compression"),
        (tiff("<", {258: (16,), 262: (32803,)}, bytes(2 * HEIGHT * WIDTH)), r"colour filter array \(raw\) is not supp"),
        (tiff("<", {258: (8,) * 3, 262: (6,), 277: (3,)}, bytes(2 * HEIGHT * WIDTH)), "uncompressed YCbCr TIFF"),
    ],
)
def test_what_can_not_be_shown_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_a_palette_of_8_bit_entries_is_not_black() -> None:
    colours = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 9)])
    index = ramp(8, 1)[:, :, 0]
    for entries in (colours, colours * 257):
        data = tiff("<", {258: (8,), 262: (3,), 320: tuple(map(int, entries.ravel()))}, packed(index, 8, "<"))
        assert np.array_equal(levels(data), colours[:, index].transpose(1, 2, 0))


# -- the whole grid, against tifffile


def shown(values: NDArray[Any], bits: int, photometric: str, extra: str | None) -> NDArray[np.float64]:
    """How stored values are shown, by TIFF 6.0: 16-bit colours are cut to their upper bytes, grey is rounded."""
    upper = (values >> 8 if bits == 16 else values).astype(np.float64)
    if photometric == "separated":
        return (255 - upper[:, :, :3]) * (255 - upper[:, :, 3:]) / 255
    if photometric == "rgb":
        colours = upper[:, :, :3]
    else:
        one = values[:, :, :1] * (255 / ((1 << bits) - 1))
        colours = np.repeat(255 - one if photometric == "miniswhite" else one, 3, axis=2)
    if extra in (None, "unspecified"):
        return colours
    alpha = upper[:, :, -1:] / 255
    hidden = (1 - alpha) * BACKGROUND
    return np.minimum(colours + hidden, 255) if extra == "assocalpha" else colours * alpha + hidden


KINDS = [
    ("minisblack", 1, None),
    ("miniswhite", 1, None),
    ("minisblack", 2, "unassalpha"),
    ("minisblack", 2, "assocalpha"),
    ("rgb", 3, None),
    ("rgb", 4, "unassalpha"),
    ("rgb", 4, "assocalpha"),
    ("rgb", 4, "unspecified"),
    ("separated", 4, None),
]
REFUSED = {("minisblack", 16, "contig"), ("minisblack", 8, "contig")}  # grey with alpha: Pillow has no mode, or lately


CASES = [
    (*kind, bits, planar)
    for kind in KINDS
    for bits in (1, 8, 16)
    for planar in ("contig", "separate")
    if kind[1] == 1 or bits > 1
    if kind[1] > 1 or planar == "contig"
]


@pytest.mark.parametrize(("photometric", "channels", "extra", "bits", "planar"), CASES)
def test_every_kind_shows_what_tifffile_reads(
    photometric: str, channels: int, extra: str | None, bits: int, planar: str
) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = ramp(bits, channels)
    if extra == "assocalpha":
        values[:, :, :-1] = np.rint(values[:, :, :-1] * (values[:, :, -1:] / ((1 << bits) - 1)))
    stored = values.astype({1: bool, 8: np.uint8, 16: np.uint16}[bits])
    stored = stored[:, :, 0] if channels == 1 else stored if planar == "contig" else np.moveaxis(stored, -1, 0)
    for order in "<>":
        for compression in (None, "zlib", "lzw", "packbits"):
            for tile in (None, (16, 16)):
                for predictor in (None, True):
                    if (predictor and (compression not in ("zlib", "lzw") or bits == 1)) or (tile and bits == 1):
                        continue
                    buffer = io.BytesIO()
                    try:
                        with tifffile.TiffWriter(buffer, byteorder=order) as writer:
                            writer.write(
                                np.ascontiguousarray(stored),
                                photometric=photometric,
                                planarconfig=None if channels == 1 else planar,
                                extrasamples=[extra] if extra else None,
                                compression=compression,
                                tile=tile,
                                predictor=predictor,
                                rowsperstrip=None if tile else 7,
                                metadata=None,
                            )
                    except (ImportError, ValueError, KeyError):  # a codec of imagecodecs, which is not installed
                        continue
                    again = tifffile.imread(io.BytesIO(buffer.getvalue())) if compression is None else stored
                    assert np.array_equal(again, stored)
                    try:
                        found = levels(buffer.getvalue(), background=BACKGROUND)
                    except ImageError as error:
                        assert (photometric, bits, planar) in REFUSED and extra
                        assert f"TIFF of {bits}-bit grey with 1 extra channel is not supported" in str(error)
                        continue
                    wanted = shown(values, bits, photometric, extra)
                    assert np.abs(found - wanted).max() <= (2.5 if extra == "assocalpha" else 1), (order, compression)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    ("photometric", "bits", "planar"),
    [("rgb", 16, "separate"), ("miniswhite", 16, None), ("rgb", 8, "contig"), ("rgb", 8, "separate")],
)
def test_orientation_is_applied_once_whatever_way_is_taken(
    photometric: str, bits: int, planar: str | None, orientation: int
) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = ramp(bits, 3 if planar else 1).astype(f"u{bits // 8}")
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values if planar else values[:, :, 0]
    buffer = io.BytesIO()
    tag = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(buffer, stored, photometric=photometric, planarconfig=planar, extratags=tag)
    wanted = TURNS[orientation](np.rint(shown(values, bits, photometric, None)))
    assert np.array_equal(levels(buffer.getvalue()), wanted)


# -- which of its images


def two_images(first: int, *, below: bool = False) -> bytes:
    """A TIFF whose first image is grey 50 and of the subfile type `first`, and whose second, or inner, one is 200."""
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        small = np.full((4, 6), 50, np.uint8)
        writer.write(small, photometric="minisblack", subfiletype=first, subifds=int(below), metadata=None)
        writer.write(np.full((8, 12), 200, np.uint8), photometric="minisblack", metadata=None)
    return buffer.getvalue()


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("kind", [1, 3])
def test_a_thumbnail_before_the_image_is_passed_over(kind: int, below: bool) -> None:
    found = levels(two_images(kind, below=below))
    assert found.shape == (8, 12, 3) and (found == 200).all()


def test_a_mask_before_the_image_is_passed_over() -> None:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.ones((8, 12), bool), photometric="mask", subfiletype=4, metadata=None)
        writer.write(np.full((8, 12), 200, np.uint8), photometric="minisblack", metadata=None)
    assert (levels(buffer.getvalue()) == 200).all()


def test_of_whole_images_the_first_is_used_and_a_lone_thumbnail_too() -> None:
    assert (levels(two_images(0)) == 50).all() and (levels(two_images(2)) == 50).all()
    alone = tiff("<", {254: (1,), 258: (8,), 262: (1,)}, ramp(8, 1).astype(np.uint8).tobytes())
    assert np.array_equal(levels(alone)[:, :, 0], ramp(8, 1)[:, :, 0])


def test_directories_in_a_circle_end() -> None:
    data = tiff("<", {254: (1,), 258: (8,), 262: (1,)}, ramp(8, 1).astype(np.uint8).tobytes())
    start = int.from_bytes(data[4:8], "little")
    place = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    assert levels(data[:place] + data[4:8] + data[place + 4 :]).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("data", [b"II*\0", b"MM\0*\0\0\0", b"II+\0\x08\0\0\0\x10\0", b"II*\0\xff\xff\xff\xff"])
def test_a_header_without_a_directory_is_damaged(data: bytes) -> None:
    with pytest.raises(ImageError, match="damaged image: the header of this TIFF can't be read"):
        decode(data)


def test_a_raw_file_of_a_camera_is_named() -> None:
    data = tiff("<", {258: (8,), 262: (1,), 50706: (1, 4, 0, 0)}, ramp(8, 1).astype(np.uint8).tobytes())
    with pytest.raises(ImageError, match=r"a camera's raw file \(DNG\)"):
        decode(data)


def test_warnings_of_libtiff_and_pillow_do_not_reach_the_terminal() -> None:
    words = tiny.encoded(tiny.images(1)[0], "TIFF", compression="tiff_lzw")
    place = words.index(struct.pack("<HH", 259, 3))
    odd = words[:place] + struct.pack("<HHII", 259, 3, 2, 5) + words[place + 12 :]  # two compressions
    script = (
        "import sys; from edgeclf_runtime.images.decode import decode; from edgeclf_runtime.errors import ImageError\n"
        "data = sys.stdin.buffer.read()\n"
        "for cut in (len(data), len(data) // 2, len(data) - 40):\n"
        "    try: decode(data[:cut])\n"
        "    except ImageError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=odd, capture_output=True, check=True)
    assert done.stderr == b""


def test_an_uncompressed_ycbcr_image_of_whole_colours_is_read() -> None:
    image = tiny.images(1)[0].convert("YCbCr")
    assert np.array_equal(levels(tiny.encoded(image, "TIFF")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("planar", [1, 2])
def test_uncompressed_ycbcr_is_read_where_no_colours_are_shared(planar: int) -> None:
    colours = ramp(8, 3).astype(np.uint8)
    stored = np.asarray(Image.fromarray(colours).convert("YCbCr"))
    tags = {258: (8,) * 3, 262: (6,), 277: (3,), 284: (planar,), 530: (1, 1)}
    if planar == 1:
        found = levels(tiff("<", tags, stored.tobytes()))
        assert np.abs(found.astype(int) - colours).max() <= 3
    else:
        with pytest.raises(ImageError, match="damaged"):  # three planes in one strip
            decode(tiff("<", tags, stored.tobytes()))


def test_16_bit_planes_in_a_bigtiff_are_read() -> None:
    tifffile = pytest.importorskip("tifffile")
    values = ramp(16, 3).astype(np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.moveaxis(values, -1, 0), photometric="rgb", planarconfig="separate", bigtiff=True)
    assert np.array_equal(levels(buffer.getvalue()), values >> 8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="rgb", bigtiff=True, byteorder=">")
    with pytest.raises(ImageError, match="big-endian BigTIFF"):
        decode(buffer.getvalue())


def test_planes_and_negatives_keep_the_limit_of_size() -> None:
    tifffile = pytest.importorskip("tifffile")
    planes = io.BytesIO()
    tifffile.imwrite(planes, np.zeros((3, 40, 40), np.uint16), photometric="rgb", planarconfig="separate")
    for data in (grey(16, photometric=0), planes.getvalue()):
        with pytest.raises(ImageError, match="megapixels, over the limit"):
            decode(data, limits=Limits(megapixels=0.0001))


def test_damaged_tiff_is_still_called_damaged() -> None:
    colours = {258: (16,) * 3, 262: (2,), 277: (3,)}
    for data in (tiff("<", colours, bytes(99)), tiff("<", {**colours, 284: (2,)}, bytes(99)), grey(8)[:8]):
        with pytest.raises(ImageError, match="damaged"):
            decode(data)
