"""Answers to spoilt images: each image is decoded and spoilt once, and all bundles get the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

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
    """Answers so far, class numbers in the data's order: row -> blocks (ways, images).

    `places` are the images among those that are readable. Grows by blocks that all rows have answered.
    """

    ways: tuple[Corruption, ...]
    places: list[int] = field(default_factory=list)
    answers: dict[str, list[NDArray[np.intp]]] = field(default_factory=dict)

    def numbers(self, row: str) -> NDArray[np.intp]:
        """(ways, images) the classes that a row answers."""
        return np.concatenate(self.answers[row], axis=1)[:, : len(self.places)]


def predict_corrupted(
    contenders: Sequence[BundleContender],
    images: Sequence[LabelledImage],
    places: Sequence[int],
    classes: Sequence[str],
    options: SessionOptions,
    found: CorruptedImages,
    tell: Callable[[int], None],
) -> None:
    """Fills `found` with answers to the `images` at `places`, spoilt in all its ways; `tell` hears of each block."""
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(usable_cores(), "edgeclf-spoil"))
        opened: dict[str, Opened] = {}
        for each in contenders:
            opened[each.name] = each.open(options)
            stack.callback(opened[each.name].close)
        geometries = tuple(dict.fromkeys(pixels_of(each.bundle) for each in contenders))
        for start in range(0, len(places), _IMAGES):
            group = list(places[start : start + _IMAGES])
            inputs = list(threads.map(lambda place: _pixels(images[place], found.ways, geometries), group))
            block = {
                each.name: _answers(each, opened[each.name], inputs, classes, len(found.ways)) for each in contenders
            }
            for name, numbers in block.items():
                found.answers.setdefault(name, []).append(numbers)
            found.places += group
            tell(len(found.places))


def _pixels(
    image: LabelledImage, ways: Sequence[Corruption], geometries: Sequence[Pixels]
) -> dict[Pixels, NDArray[np.uint8]]:
    """For each geometry (ways, H, W, 3): one image, decoded once for all that see it alike, spoilt in all ways."""
    try:
        data = image.read()
    except ImageError as error:
        raise DataError(f"{image.path}: {error}") from error
    made: dict[Pixels, list[NDArray[np.uint8]]] = {pixels: [] for pixels in geometries}
    for background, value_range in dict.fromkeys((each.background, each.value_range) for each in geometries):
        picture = decode(data, background=background, value_range=value_range).image
        alike = [each for each in geometries if (each.background, each.value_range) == (background, value_range)]
        for way in ways:
            spoilt = corrupt(picture, way, image.sha256)
            for pixels in alike:
                made[pixels].append(pixels.apply(spoilt))
    return {pixels: np.stack(arrays) for pixels, arrays in made.items()}


def _answers(
    contender: BundleContender,
    opened: Opened,
    inputs: Sequence[dict[Pixels, NDArray[np.uint8]]],
    classes: Sequence[str],
    ways: int,
) -> NDArray[np.intp]:
    """(ways, images) numbers of the classes that are answered."""
    manifest = contender.bundle.manifest
    pixels = np.concatenate([each[pixels_of(contender.bundle)] for each in inputs])
    outputs = np.concatenate(
        [opened.infer(to_input(batch, manifest.normalization)) for batch in _batches(pixels)]
    ).astype(np.float32)
    numbers = in_order_of(classes, outputs, manifest).argmax(axis=1)
    return np.ascontiguousarray(numbers.reshape(len(inputs), ways).T)


def _batches(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), _BATCH):
        yield pixels[start : start + _BATCH]
