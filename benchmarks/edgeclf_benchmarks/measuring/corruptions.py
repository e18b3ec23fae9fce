"""Image corruptions at three levels each, such as a cheap camera, bad light or strong compression cause.

Strengths are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) at its severities 1, 3 and 5, which are made for
images of 224 pixels. Here lengths are shares of the shorter side, so that the network sees the same effect for
files of any size. JPEG alone works on the image's own pixels, as a camera does: large photographs suffer less from it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageFilter

from edgeclf_runtime.errors import UsageError

_MADE_FOR_PX = 224
LEVELS = (1, 2, 3)
Name = Literal["noise", "blur", "jpeg", "brightness", "contrast", "pixelate"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption at one level: 1 mild, 2, 3 strong."""

    name: Name
    level: int


def parse_corruptions(text: str) -> tuple[Name, ...]:
    """ "all" or "noise,blur" -> names, each once. Raises UsageError."""
    if text.strip() == "all":
        return NAMES
    wanted = [word.strip() for word in text.split(",")]
    for word in wanted:
        if word not in NAMES:
            raise UsageError(f"no corruption {word!r}; choose from {', '.join(NAMES)}, or all")
    return tuple(name for name in NAMES if name in wanted)


def at_each_level(names: tuple[Name, ...]) -> tuple[Corruption, ...]:
    """Each corruption at each level."""
    return tuple(Corruption(name, level) for name in names for level in LEVELS)


def corrupt(image: Image.Image, corruption: Corruption, sha256: str) -> Image.Image:
    """The corrupted RGB image; the same for the same file (`sha256`), on each machine and in each run."""
    work, strengths = _TABLE[corruption.name]
    digest = hashlib.sha256(f"{sha256} {corruption.name} {corruption.level}".encode()).digest()
    return work(image, strengths[corruption.level - 1], int.from_bytes(digest[:4], "big"))


def _noise(image: Image.Image, share: float, seed: int) -> Image.Image:
    """Gaussian noise of `share` of the range; its grain is a pixel of an image of 224 pixels."""
    width, height = image.size
    scale = min(1.0, _MADE_FOR_PX / min(width, height))
    grains = max(1, round(height * scale)), max(1, round(width * scale))
    drawn = np.random.RandomState(seed).standard_normal((*grains, 3))  # its numbers never change between versions
    noise = np.rint(255 * share * drawn).astype(np.int16)
    rows, columns = np.arange(height) * grains[0] // height, np.arange(width) * grains[1] // width
    noisy = np.asarray(image, dtype=np.int16) + noise[rows][:, columns]
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _blur(image: Image.Image, radius_px: float, seed: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius_px * min(image.size) / _MADE_FOR_PX))


def _jpeg(image: Image.Image, quality: float, seed: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(quality))
    with Image.open(buffer, formats=("JPEG",)) as again:
        decoded: Image.Image = again.convert("RGB")
    return decoded


def _brightness(image: Image.Image, share: float, seed: int) -> Image.Image:
    """All levels raised by a share of the range, as an exposure that is too long."""
    table = [min(255, round(level + 255 * share)) for level in range(256)]
    return image.point(table * 3)


def _contrast(image: Image.Image, share: float, seed: int) -> Image.Image:
    """What is left of each level's distance from its channel's mean."""
    table: list[int] = []
    for counts in np.array(image.histogram(), dtype=np.float64).reshape(3, 256):
        mean = float(counts @ np.arange(256)) / counts.sum()
        table += [round(mean + share * (level - mean)) for level in range(256)]
    return image.point(table)


def _pixelate(image: Image.Image, share: float, seed: int) -> Image.Image:
    """Squares: the image shrunk until its shorter side has `share` of 224 pixels (or of its own), and enlarged."""
    factor = share * min(1.0, _MADE_FOR_PX / min(image.size))
    small = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


_Work = Callable[[Image.Image, float, int], Image.Image]
_TABLE: dict[Name, tuple[_Work, tuple[float, float, float]]] = {
    "noise": (_noise, (0.08, 0.18, 0.38)),
    "blur": (_blur, (1, 3, 6)),
    "jpeg": (_jpeg, (25, 15, 7)),
    "brightness": (_brightness, (0.1, 0.3, 0.5)),
    "contrast": (_contrast, (0.4, 0.2, 0.05)),
    "pixelate": (_pixelate, (0.6, 0.4, 0.25)),
}
