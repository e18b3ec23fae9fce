"""JPEG without its end marker: decoded with a note where all pixels are there, damaged where some are not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits

NOTE = "the end marker is missing; all pixels are there"
KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "whole colours": {"subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
}


def jpeg(kind: str, *, seed: int = 0) -> bytes:
    options = dict(KINDS[kind])
    image = tiny.images(seed + 1)[seed].convert(options.pop("mode", "RGB"))
    return tiny.encoded(image, quality=90, **options)


@pytest.mark.parametrize("half", [b"", b"\xff"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_end_marker_missing_is_a_note(kind: str, half: bytes) -> None:
    data = jpeg(kind)
    assert data.endswith(b"\xff\xd9")
    decoded = decode(data[:-2] + half)
    assert decoded.notes == (NOTE,)
    assert np.array_equal(np.asarray(decoded.image), np.asarray(decode(data).image))
    assert decode(data).notes == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_was_cut_stays_damaged(kind: str) -> None:
    data = jpeg(kind)
    for lost in (*range(9, 90, 7), *range(90, len(data), 61)):
        with pytest.raises(ImageError, match="damaged"):
            decode(data[:-lost])


def test_a_progressive_jpeg_cut_between_two_scans_stays_damaged() -> None:
    data = jpeg("progressive")
    starts = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        with pytest.raises(ImageError, match="damaged"):
            decode(data[:start])
        tables = data.rfind(b"\xff\xc4", 0, start)  # before the Huffman table of the scan, too
        with pytest.raises(ImageError, match="damaged"):
            decode(data[:tables])


def test_it_is_turned_and_reduced_as_a_whole_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = tiny.encoded(tiny.images(1)[0].resize((640, 400)), exif=exif)
    for reduce in (None, lambda width, height: (90, 90)):
        whole, cut = decode(data, reduce=reduce), decode(data[:-2], reduce=reduce)
        assert np.array_equal(np.asarray(whole.image), np.asarray(cut.image)) and whole.reduced == cut.reduced


def test_the_limit_of_size_holds_for_it() -> None:
    with pytest.raises(ImageError, match="megapixels"):
        decode(io.BytesIO(jpeg("baseline")[:-2]), limits=Limits(megapixels=0.0001))
