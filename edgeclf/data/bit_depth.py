"""How many bits of 16-bit images are in use: 12 bits in 16-bit files look nearly black unless the range is given."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_JPEG = b"\xff\xd8"  # 8 bits a channel, whatever it shows
_DARK_BITS = 14  # values that fill no more of 16 bits are shown at a quarter of the brightness, or less


@dataclass(frozen=True, slots=True)
class DeepImages:
    """Images of 16 bits, and the highest value that is stored in any of them."""

    images: int
    highest: int

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Stored values that should be black and white; None: all bits of the files are in use."""
        bits = self.highest.bit_length()
        if not self.images or bits > _DARK_BITS or not self.highest:
            return None
        return 0.0, 2.0 ** max(bits, 8) - 1

    @property
    def remedy(self) -> str:
        """What to type for `value_range`."""
        bits = max(self.highest.bit_length(), 8)
        return f"--bit-depth {bits}" if bits > 8 else "--window 0,255"

    def __str__(self) -> str:
        many = "1 image of 16 bits holds" if self.images == 1 else f"{self.images:,} images of 16 bits hold"
        return f"{many} values up to {self.highest:,} of 65,535, and look nearly black: give {self.remedy}"


def highest_stored(source: Path | bytes) -> int | None:
    """The highest value of a 16-bit image of one channel; None: the file is no such image, or can't be read."""
    if isinstance(source, bytes) and source.startswith(_JPEG):
        return None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            if opened.mode not in _DEEP_MODES:
                return None
            values = np.asarray(opened)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # reported where the image is decoded
        return None
    return int(values.max()) if values.size and values.min() >= 0 else None


def deep_images(highest: Iterable[int | None]) -> DeepImages:
    """The 16-bit images among many, from the highest stored value of each."""
    found = [value for value in highest if value is not None and value <= 0xFFFF]
    return DeepImages(len(found), max(found, default=0))
