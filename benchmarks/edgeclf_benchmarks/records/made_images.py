"""A data set of any size, made at once: class folders of small images that differ, with some copies and look-alikes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CELLS, _CHUNK = 12, 1000  # of fewer cells the hashes of unrelated images are close too often


def make_images(folder: Path, count: int, *, classes: int = 10, side_px: int = 64, suffix: str = ".jpg") -> int:
    """Writes `count` square images of blurred random cells; returns the bytes written.

    One in 100 is the image before it, a little brighter; one in 1,000 is a copy of the file before it.
    """
    written, content = 0, b""
    for label in range(classes):
        (folder / f"class{label:03}").mkdir(parents=True)
    for number in range(count):
        if number % _CHUNK == 0:
            cells = np.random.default_rng(number).integers(16, 224, (_CHUNK, _CELLS, _CELLS, 3), dtype=np.uint8)
        place = number % _CHUNK
        if place % 100 == 51:
            content = _encoded(cells[place - 1] + np.uint8(16), side_px, suffix)
        elif place != 777:
            content = _encoded(cells[place], side_px, suffix)
        (folder / f"class{number * classes // count:03}" / f"{number:07}{suffix}").write_bytes(content)
        written += len(content)
    return written


_FORMATS = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}


def _encoded(cells: NDArray[np.uint8], side_px: int, suffix: str) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(cells).resize((side_px, side_px), Image.Resampling.BICUBIC)
    image.save(file, _FORMATS[suffix])
    return file.getvalue()
