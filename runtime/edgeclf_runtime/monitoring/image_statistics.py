"""How an image looks, in four numbers that a camera, its light or its lens changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def image_statistics(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """(H, W, 3) uint8 RGB -> brightness, contrast, colour and detail, all in levels of 0..255.

    Mean and standard deviation of the grey levels; mean of red minus blue, which a white balance moves; mean difference
    of neighbours, which falls when a lens is dirty or out of focus.
    """
    grey = pixels.astype(np.float32) @ _LUMA
    means = pixels.mean(axis=(0, 1))
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "colour": float(means[0] - means[2]),
        "detail": float(across.mean() + down.mean()) / 2 if across.size and down.size else 0.0,
    }
