"""A map over its image: what matters keeps its colours and glows, the rest fades to grey."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf.explanation.rise import Map

_GLOW = np.array([255.0, 110.0, 0.0])  # one hue: seen by those who don't tell red from green, too
_LEAST_SIDE = 224
_MOST_GLOW, _FADED = 0.55, 0.35


def overlay(pixels: NDArray[np.uint8], found: Map) -> Image.Image:
    """(H, W, 3) uint8 and its (H, W) map -> a picture of both, enlarged where the image is small."""
    share = normalised(found)[..., np.newaxis]
    colours = pixels.astype(np.float64)
    grey = colours.mean(axis=2, keepdims=True)
    faded = grey * (1 - _FADED) + 255 * _FADED
    base = faded + (colours - faded) * share
    glow = _MOST_GLOW * np.clip(2 * share - 1, 0, 1)
    picture = Image.fromarray(np.rint(base + (_GLOW - base) * glow).astype(np.uint8))
    times = -(-_LEAST_SIDE // min(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)


def normalised(found: Map) -> Map:
    """The map from 0, its least value, to 1; zeros where all of it is the same."""
    low, high = float(found.min()), float(found.max())
    return np.asarray((found - low) / (high - low)) if high > low else np.zeros_like(found)


def coarse(found: Map, cells: int = 14) -> tuple[tuple[float, ...], ...]:
    """The map as at most `cells` x `cells` means of 0..1, row by row from the top: small enough for JSON."""
    whole = normalised(found)
    rows = np.array_split(whole, min(cells, len(whole)), axis=0)
    return tuple(
        tuple(round(float(part.mean()), 4) for part in np.array_split(row, min(cells, row.shape[1]), axis=1))
        for row in rows
    )


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
