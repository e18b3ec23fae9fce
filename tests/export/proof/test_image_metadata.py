"""Golden images keep their pixels and lose their metadata."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from edgeclf_export.proof.image_metadata import without_metadata
from edgeclf_export.proof.images import shipped_photographs
from edgeclf_runtime.images.decode import decode


def image_with_metadata(kind: str, orientation: int) -> bytes:
    """An image whose file has a camera, a place, a comment and its orientation."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "secret camera", orientation
    exif.get_ifd(0x8825)[1] = "secret north"
    options = {"exif": exif}
    if kind == "PNG":
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", "secret patient")
        options["pnginfo"] = notes
    else:
        options["comment"] = b"secret patient"
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_without_metadata_gives_the_same_upright_pixels(kind: str, orientation: int) -> None:
    data = image_with_metadata(kind, orientation)
    bare = without_metadata(data)
    assert b"secret" in data and bare is not None and b"secret" not in bare
    assert np.array_equal(np.asarray(decode(bare).image), np.asarray(decode(data).image))


@pytest.mark.parametrize("path", shipped_photographs(), ids=lambda path: path.name)
def test_shipped_photographs_keep_their_pixels(path: Path) -> None:
    data = path.read_bytes()
    bare = without_metadata(data)
    assert bare is not None
    assert np.array_equal(np.asarray(decode(bare).image), np.asarray(decode(data).image))


def test_other_formats_are_left_to_the_caller() -> None:
    assert without_metadata(b"GIF89a") is None
