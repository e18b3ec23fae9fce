"""Predictions for corrupted images: each image is decoded and corrupted once, and all bundles get the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.contenders import BundleContender, Opened, pixels_of
from edgeclf_benchmarks.measuring.corruptions import Corruption, corrupt
from edgeclf_benchmarks.measuring.predictions import in_order_of
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.pixels import Pixels

_IMAGES, _BATCH = 8, 8


@dataclass(slots=True)
class CorruptedImages:
    """Predictions so far, in the data's order of classes: row -> blocks of images that all rows have predicted.

    A block holds class numbers (corruptions, images), or logits (corruptions, images, labels) where images may have
    several labels. `places` are the images among those that are readable.
    """

    corruptions: tuple[Corruption, ...]
    multi_label: bool = False
    places: list[int] = field(default_factory=list)
    predictions: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def of(self, row: str) -> NDArray[Any]:
        """(corruptions, images) the classes that a row predicts, or (corruptions, images, labels) its logits."""
        return np.concatenate(self.predictions[row], axis=1)[:, : len(self.places)]


def predict_corrupted(
    contenders: Sequence[BundleContender],
    images: Sequence[LabelledImage],
    places: Sequence[int],
    classes: Sequence[str],
    options: SessionOptions,
    found: CorruptedImages,
    on_done: Callable[[int], None],
) -> None:
    """Fills `found` with predictions for the corrupted `images` at `places`; `on_done` gets how many are done."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(usable_cores(), "edgeclf-corrupt"))
        opened: dict[str, Opened] = {}
        for each in contenders:
            opened[each.name] = each.open(options)
            stack.callback(opened[each.name].close)
        geometries = tuple(dict.fromkeys(pixels_of(each.bundle) for each in contenders))
        for start in range(0, len(places), _IMAGES):
            group = list(places[start : start + _IMAGES])
            inputs = list(threads.map(lambda place: _pixels(images[place], found.corruptions, geometries), group))
            block = {
                each.name: _outputs(each, opened[each.name], inputs, classes, len(found.corruptions))
                for each in contenders
            }
            for name, outputs in block.items():
                kept = outputs if found.multi_label else outputs.argmax(axis=2)
                found.predictions.setdefault(name, []).append(kept)
            found.places += group
            on_done(len(found.places))


def _pixels(
    image: LabelledImage, corruptions: Sequence[Corruption], geometries: Sequence[Pixels]
) -> dict[Pixels, NDArray[np.uint8]]:
    """For each geometry (corruptions, H, W, 3): one image, corrupted; decoded once for all that decode it alike."""
    try:
        data = image.read()
    except ImageError as error:
        raise DataError(f"{image.path}: {error}") from error
    made: dict[Pixels, list[NDArray[np.uint8]]] = {pixels: [] for pixels in geometries}
    for background, value_range in dict.fromkeys((each.background, each.value_range) for each in geometries):
        original = decode(data, background=background, value_range=value_range).image
        alike = [each for each in geometries if (each.background, each.value_range) == (background, value_range)]
        for corruption in corruptions:
            corrupted = corrupt(original, corruption, image.sha256)
            for pixels in alike:
                made[pixels].append(pixels.apply(corrupted))
    return {pixels: np.stack(arrays) for pixels, arrays in made.items()}


def _outputs(
    contender: BundleContender,
    opened: Opened,
    inputs: Sequence[dict[Pixels, NDArray[np.uint8]]],
    classes: Sequence[str],
    corruptions: int,
) -> NDArray[np.float32]:
    """(corruptions, images, classes)."""
    manifest = contender.bundle.manifest
    pixels = np.concatenate([each[pixels_of(contender.bundle)] for each in inputs])
    outputs = np.concatenate(
        [opened.infer(to_input(batch, manifest.normalization)) for batch in _batches(pixels)]
    ).astype(np.float32)
    ordered = in_order_of(classes, outputs, manifest)
    return np.asarray(ordered.reshape(len(inputs), corruptions, len(classes)).swapaxes(0, 1))


def _batches(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), _BATCH):
        yield pixels[start : start + _BATCH]
