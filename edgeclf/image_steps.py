"""An image on its way through the pixel contract: shape, dtype and range of values after each step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends import hog_svm
from edgeclf_runtime.backends.hog import grey_levels, hog
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, to_input
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.sources import ImageSource


@dataclass(frozen=True, slots=True)
class Step:
    """What there is after a step. `low`, `high` and `mean` (of red, green, blue): None where no array is made.

    `shape` is of the array in its own layout: (H, W, 3) of images, (1, H, W, 3) or (1, 3, H, W) of the network's input,
    (1, features) of HOG + SVM.
    """

    name: str
    did: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None = None
    high: float | None = None
    mean: tuple[float, ...] | None = None


def steps_of(manifest: Manifest, source: ImageSource) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """The steps from the file to what the network's first convolution gets, and the decoder's notes.

    Raises UsageError for a bundle that takes no images, ImageError for a file that is none.
    """
    pixels, normalization = manifest.pixels, manifest.normalization
    if pixels is None:
        raise UsageError("this bundle takes texts, so no image goes through it")
    decoded = decode(source, background=pixels.background, value_range=pixels.value_range)
    width, height = pixels.resized_size(*decoded.image.size)
    kept = pixels.apply(decoded.image)
    batch = kept[np.newaxis]
    steps = [
        _measured("decoded", "upright, red green blue, 8 bits", np.asarray(decoded.image)),
        Step("resized", f"{pixels.resize}, {pixels.interpolation}", (height, width, 3), "uint8"),
        _measured("cropped", "the centre; what is missing is padded", kept),
        _measured("input", "a batch of one, as the graph takes it", to_input(batch, normalization)),
    ]
    if normalization is not None and normalization.applied_by == "graph":
        steps.append(_measured("normalised", "in the graph's first layer", _normalized(batch, normalization)))
    if manifest.target == hog_svm.BACKEND.name:
        features = hog(grey_levels(batch))
        low, high = float(features.min()), float(features.max())
        did = "histograms of oriented gradients of the grey image"
        steps.append(Step("features", did, features.shape, str(features.dtype), low, high))
    return tuple(steps), decoded.notes


def _normalized(batch: NDArray[np.uint8], normalization: Normalization) -> NDArray[np.generic]:
    return to_input(batch, replace(normalization, applied_by="caller"))


def _measured(name: str, did: str, values: NDArray[np.generic]) -> Step:
    channels_last = values.shape[-1] == 3
    means = values.astype(np.float64).mean(axis=tuple(range(values.ndim - 1)) if channels_last else (0, 2, 3))
    low, high = float(values.min()), float(values.max())
    return Step(name, did, values.shape, str(values.dtype), low, high, tuple(map(float, means)))
