"""Calibration images: real, counted, seeded, class by class in turn, and never one of the evaluation images."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError, ImageError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage, all_labels
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import prepare_images

CALIBRATION_IMAGES = 300
FEW_IMAGES = 64  # below that single images decide the ranges
_NAMED = 5  # files in a message
_THUMBNAIL_PX, _SAME_LEVELS = 8, 4.0  # a JPEG of quality 60 moved the mean of a block by 3 levels at most


@dataclass(frozen=True)
class CalibrationImages:
    """The images that ranges are measured on, as (N, H, W, 3) uint8 pixels by the bundle's Pixels.

    Attributes
    ----------
    sha256
        SHA-256 of the sorted hashes of the files: the same images give the same digest wherever they lie.
    source
        Where they come from and how many there were to choose from.
    different
        How many of them differ from all others in what they show: copies that were saved anew have other hashes.
    hashes
        SHA-256 of each file.
    warnings
        What is wrong with them, and what to do.
    """

    files: tuple[Path, ...]
    pixels: NDArray[np.uint8]
    sha256: str
    source: str
    different: int
    warnings: tuple[str, ...]
    hashes: frozenset[str] = frozenset()

    @property
    def too_few(self) -> str | None:
        """A sentence, where they are too few to hold any layer responsible; None: they are enough."""
        if self.different >= FEW_IMAGES:
            return None
        shown = "" if self.different == len(self.files) else f", of which {self.different} are different"
        return (
            f"ranges were measured on {len(self.files)} images{shown}: give {FEW_IMAGES} different ones or more with "
            "--calib-data"
        )


def load_calibration(
    found: Sequence[LabelledImage],
    evaluation: Collection[str],
    pixels: Pixels,
    *,
    called: str,
    most: int = CALIBRATION_IMAGES,
    seed: int = 0,
) -> CalibrationImages:
    """At most `most` of the images, none of which is among the `evaluation` images.

    Parameters
    ----------
    evaluation
        SHA-256 of every validation and test image: those never calibrate, whatever folder they lie in.
    called
        Where the images come from, for messages and the manifest.

    Raises
    ------
    DataError
        No image is left to calibrate on, or one can't be read. Random images never take their place.
    """
    if most < 1:
        raise UsageError(f"wanted one calibration image or more, found {most}")
    if not found:
        raise DataError(f"{called}: no images to calibrate on; int8 needs real ones, {FEW_IMAGES} or more")
    free = without(found, evaluation)
    if not free:
        raise DataError(
            f"{called}: all {len(found)} images are evaluation images too, which never calibrate; "
            "give other images with --calib-data"
        )
    chosen = choose(free, most, seed)
    warnings = []
    if len(free) < len(found):
        warnings.append(f"{len(found) - len(free)} of {len(found)} images left out: copies, or evaluation images")
    if len(chosen) < FEW_IMAGES:
        warnings.append(
            f"only {len(chosen)} calibration images, so that single ones decide the ranges; {FEW_IMAGES} are enough"
        )
    if lacking := len(set(all_labels(free)) - set(all_labels(chosen))):
        warnings.append(f"{lacking} classes have no calibration image; raise --calib-images")
    loaded = load_pixels(chosen, pixels, "the calibration images")
    different = count_different(loaded)
    if different < len(chosen) and different < FEW_IMAGES:
        warnings.append(f"only {different} of {len(chosen)} calibration images are different")
    return CalibrationImages(
        files=tuple(image.path for image in chosen),
        pixels=loaded,
        sha256=digest(chosen),
        source=f"{called}: {len(chosen)} of {len(free)} images",
        different=different,
        warnings=tuple(warnings),
        hashes=frozenset(image.sha256 for image in chosen),
    )


def choose(found: Sequence[LabelledImage], most: int, seed: int) -> tuple[LabelledImage, ...]:
    """At most `most` images, one of each class in turn; their order follows from their hashes and the seed alone."""
    classes: dict[tuple[str, ...], list[LabelledImage]] = {}
    for image in sorted(found, key=lambda image: _rank(image, seed)):
        classes.setdefault(image.labels or (), []).append(image)
    queues = [iter(classes[labels]) for labels in sorted(classes)]
    chosen: list[LabelledImage] = []
    while queues and len(chosen) < most:
        queues = [queue for queue in queues if _take(queue, chosen, most)]
    return tuple(chosen)


def part(
    found: Sequence[LabelledImage], seed: int, share: float = 0.5
) -> tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]:
    """Images in two parts, by hash and class by class, for sources without splits: to calibrate on, and to evaluate on.

    Groups stay together; copies of one file fall into one part.
    """
    ranked = sorted(found, key=lambda image: (image.labels or (), _rank(image, seed)))
    places: dict[str, bool] = {}
    parts: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    taken: dict[tuple[str, ...], list[int]] = {}
    for image in ranked:
        counts = taken.setdefault(image.labels or (), [0, 0])
        key = image.group or image.sha256
        to_evaluation = places.setdefault(key, counts[0] > share * sum(counts))
        counts[int(to_evaluation)] += 1
        parts[int(to_evaluation)].append(image)
    return tuple(parts[0]), tuple(parts[1])


def load_pixels(images: Sequence[LabelledImage], pixels: Pixels, role: str) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8. Raises DataError, naming the files, where some can't be read or have changed."""
    loaded: list[NDArray[np.uint8]] = []
    faults: list[str] = []
    for image, found in prepare_images(images, lambda image: image.load(pixels)):
        if isinstance(found, ImageError):
            faults.append(f"{image.path}: {found}")
        elif not faults:
            loaded.append(found)
    if faults:
        named, more = "; ".join(faults[:_NAMED]), len(faults) - _NAMED
        raise DataError(f"{named}{f'; and {more} more' if more > 0 else ''}; take them out: they are among {role}")
    return np.stack(loaded)


def count_different(pixels: NDArray[np.uint8]) -> int:
    """How many of the (N, H, W, 3) images differ from all before them, by thumbnails, which survive re-encoding."""
    kept: list[NDArray[np.float64]] = []
    for thumbnail in map(_thumbnail, pixels):
        if all(np.abs(thumbnail - other).max() > _SAME_LEVELS for other in kept):
            kept.append(thumbnail)
    return len(kept)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(8, 8, 3): means of blocks; rows and columns that fill no block are left out."""
    height, width = (max(1, size // _THUMBNAIL_PX) for size in image.shape[:2])
    rows, columns = image.shape[0] // height, image.shape[1] // width
    blocks = image[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def digest(images: Sequence[LabelledImage]) -> str:
    """SHA-256 of the sorted hashes of the files."""
    return hashlib.sha256("\n".join(sorted(image.sha256 for image in images)).encode()).hexdigest()


def without(found: Sequence[LabelledImage], evaluation: Collection[str]) -> tuple[LabelledImage, ...]:
    """Each file once, and none of the evaluation images."""
    kept = {image.sha256: image for image in found if image.sha256 not in evaluation}
    return tuple(kept.values())


def _rank(image: LabelledImage, seed: int) -> str:
    return hashlib.sha256(f"{seed} {image.sha256}".encode()).hexdigest()


def _take(queue: Iterator[LabelledImage], chosen: list[LabelledImage], most: int) -> bool:
    """Takes one more image of a class, where there is one and room for it; False: the class has no more."""
    image = next(queue, None)
    if image is not None and len(chosen) < most:
        chosen.append(image)
    return image is not None
