"""Images of Pillow: as the file they were opened from, whether it was loaded yet or not."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.pixels import Pixels

PIXELS = Pixels("shorter", (24, 24), (20, 20), background=(10, 200, 90))


def photograph(mode: str = "RGB") -> Image.Image:
    return tiny.images(1)[0].resize((61, 47)).convert(mode)


def sideways(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def half_transparent() -> Image.Image:
    image = photograph("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 61 * 47).astype(np.uint16).reshape(47, 61))


FILES: dict[str, bytes] = {
    "JPEG": tiny.encoded(photograph(), "JPEG"),
    "JPEG, grey": tiny.encoded(photograph("L"), "JPEG"),
    "JPEG, CMYK": tiny.encoded(photograph("CMYK"), "JPEG"),
    **{f"JPEG, orientation {i}": tiny.encoded(photograph(), "JPEG", exif=sideways(i)) for i in (3, 5, 6)},
    "PNG, orientation 6": tiny.encoded(photograph(), "PNG", exif=sideways(6)),
    **{f"PNG, {mode}": tiny.encoded(photograph(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB")},
    "PNG, transparent": tiny.encoded(half_transparent(), "PNG"),
    "PNG, palette with transparency": tiny.encoded(photograph("P"), "PNG", transparency=7),
    "PNG, RGB with transparency": tiny.encoded(photograph(), "PNG", transparency=photograph().getpixel((3, 3))),
    "PNG, 16 bits": tiny.encoded(sixteen_bits(), "PNG"),
    "PNG, 16 bits with transparency": tiny.encoded(sixteen_bits(), "PNG", transparency=0),
    "WebP, transparent": tiny.encoded(half_transparent(), "WEBP"),
    "WebP, orientation 8": tiny.encoded(photograph(), "WEBP", exif=sideways(8)),
    "GIF, two frames": tiny.encoded(photograph(), "GIF", save_all=True, append_images=[photograph().rotate(90)]),
    "BMP": tiny.encoded(photograph(), "BMP"),
    "TIFF, 16 bits": tiny.encoded(sixteen_bits(), "TIFF"),
    "TIFF, orientation 6": tiny.encoded(photograph(), "TIFF", exif=sideways(6)),
    "TIFF, orientation 6, packed": tiny.encoded(photograph(), "TIFF", exif=sideways(6), compression="tiff_lzw"),
    "PPM": tiny.encoded(photograph(), "PPM"),
}


def pixels(source: Any, **options: Any) -> NDArray[np.uint8]:
    return PIXELS.load(source, **options)[0]


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("kind", FILES)
def test_an_opened_image_gives_the_pixels_of_its_file(kind: str, mode: Any) -> None:
    wanted, notes = PIXELS.load(FILES[kind], mode=mode)
    opened = Image.open(io.BytesIO(FILES[kind]))
    for _ in range(2):  # it was not used up
        found, noted = PIXELS.load(opened, mode=mode)
        assert np.array_equal(found, wanted)
        assert noted == notes


@pytest.mark.parametrize("kind", FILES)
def test_a_loaded_image_and_its_copy_give_the_pixels_of_its_file(kind: str) -> None:
    opened = Image.open(io.BytesIO(FILES[kind]))
    opened.load()
    before = (opened.mode, opened.size, dict(opened.info), opened.tobytes())
    assert np.array_equal(pixels(opened), pixels(FILES[kind]))
    assert np.array_equal(pixels(opened.copy()), pixels(FILES[kind]))
    assert before == (opened.mode, opened.size, dict(opened.info), opened.tobytes())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"])
def test_an_image_made_in_any_mode_of_8_bits_can_be_given(mode: str) -> None:
    made = half_transparent().convert("LA" if mode == "La" else "RGBA" if mode in ("PA", "RGBa") else "RGB")
    found = pixels(made.convert(mode) if mode != "PA" else made.convert("P").convert("PA"))
    assert found.shape == (20, 20, 3) and found.std() > 1


@pytest.mark.parametrize("mode", ["F", "LAB", "HSV"])
def test_modes_without_an_agreed_meaning_are_refused_by_name(mode: str) -> None:
    with pytest.raises(ImageError, match="floating-point" if mode == "F" else mode):
        pixels(photograph("L" if mode == "F" else "RGB").convert(mode))


def test_16_bits_take_the_value_range_of_the_bundle() -> None:
    deep = Image.fromarray(np.asarray(sixteen_bits()) // 16)
    narrow = Pixels("exact", (47, 61), (47, 61), value_range=(0, 4095))
    assert np.array_equal(narrow.load(deep)[0], narrow.load(tiny.encoded(deep, "PNG"))[0])


def test_a_later_frame_that_the_caller_went_to_is_the_image() -> None:
    opened = Image.open(io.BytesIO(FILES["GIF, two frames"]))
    opened.seek(1)
    assert np.array_equal(pixels(opened), pixels(opened.convert("RGB")))
    assert not np.array_equal(pixels(opened), pixels(FILES["GIF, two frames"]))


def test_a_loaded_tiff_whose_values_pillow_changes_is_refused_and_an_opened_one_read() -> None:
    negative = tiny.encoded(sixteen_bits(), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(pixels(Image.open(io.BytesIO(negative))), pixels(negative))
    loaded = Image.open(io.BytesIO(negative))
    loaded.load()
    with pytest.raises(ImageError, match="give its path or bytes instead"):
        pixels(loaded)


@pytest.mark.parametrize("kind", ["ICO", "TGA"])
def test_an_opened_image_of_a_format_that_is_not_read_is_refused_as_its_file(kind: str) -> None:
    data = tiny.encoded(photograph(), kind)
    with pytest.raises(ImageError) as refusal:
        decode(data)
    opened = Image.open(io.BytesIO(data))
    if opened.tile:  # else Pillow has loaded it already
        with pytest.raises(ImageError, match=str(refusal.value)[:20]):
            decode(opened)


def test_damaged_closed_and_large_images_are_named() -> None:
    with pytest.raises(ImageError, match=r"damaged|truncated"):
        decode(Image.open(io.BytesIO(FILES["PNG, 16 bits"][:300])))
    closed = Image.open(io.BytesIO(FILES["WebP, transparent"]))
    closed.close()
    with pytest.raises(ImageError, match="closed"):
        decode(closed)
    with pytest.raises(ImageError, match="megapixels, over the limit"):
        decode(photograph(), limits=Limits(megapixels=0.001))
    with pytest.raises(ImageError, match="MB, over the limit"):
        decode(Image.open(io.BytesIO(FILES["BMP"])), limits=Limits(megabytes=0.001))


def test_threads_may_share_one_opened_image() -> None:
    for kind in ("JPEG", "WebP, transparent", "TIFF, 16 bits"):
        opened, wanted = Image.open(io.BytesIO(FILES[kind])), pixels(FILES[kind])
        with ThreadPoolExecutor(4) as pool:
            assert all(np.array_equal(found, wanted) for found in pool.map(pixels, [opened] * 40))
