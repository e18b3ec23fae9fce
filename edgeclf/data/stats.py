"""Channel statistics, sizes and counts of a data set, and which mean and std should normalise it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf.data.balance import count_labels
from edgeclf.data.bit_depth import DeepImages, deep_images, highest_stored
from edgeclf.data.co_occurrence import LabelStatistics, label_statistics
from edgeclf.data.usable import Unreadable, leave_out, refuse_unusable
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import BackendError, DataError, ImageError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage, all_labels
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.installing import pip_install
from edgeclf_runtime.progress import SILENT, Progress

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FAR_STDS, FAR_RATIO = 0.5, 1.5
_GREY_SHARE, _DARK_MEAN = 0.95, 0.25


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and greatest of a quantity."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """What `measure` found. Mean and std are those of R, G, B in 0..1, each image weighing the same.

    `left_out`: images that can't be used, and count for nothing in the other figures. `labels`: None where each image
    has one label.
    """

    images: int
    split: Literal["train"] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width_px: Spread
    height_px: Spread
    megapixels: Spread
    grey_share: float
    counts: dict[str, int]
    deep: DeepImages
    left_out: tuple[Unreadable, ...] = ()
    labels: LabelStatistics | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """Which statistics to normalise with.

    Attributes
    ----------
    shift_stds
        Largest distance of the channel means from those that the backbone was trained on, in the latter's std.
    spread_ratio
        The data's std over theirs, in the channel where it is farthest from 1.
    backbone, data
        What to subtract and divide by in either case.
    """

    normalize: Literal["backbone", "data"]
    reason: str
    shift_stds: float
    spread_ratio: float
    backbone: Normalization
    data: Normalization
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Measured:
    levels: NDArray[np.float64]  # (3, 256): shares of the image's pixels
    size_px: tuple[int, int]
    grey: bool
    highest_stored: int | None


def measure(
    data: DataSplit,
    value_range: tuple[float, float] | None = None,
    *,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Statistics:
    """Statistics of the training split, or of all images where there are no splits. Memory stays flat.

    Each image counts the same whatever its size, since all become the network's input size. `value_range`: stored
    values of images of more than 8 bits that are black and white. Images that can't be used are left out, as a training
    leaves them out; DataError is raised where they are more than half of all, and with `strict` where there are any.
    """
    images = data.of("train") if data.has_splits else data.images
    if not images:
        raise DataError(f"{data.root}: no training images to take statistics of")
    levels, widths, heights, grey = np.zeros((3, 256)), [], [], 0
    highest: list[int | None] = []
    unusable: list[Unreadable] = []
    for measured in _measured(images, value_range, progress):
        if isinstance(measured, Unreadable):
            unusable.append(measured)
            continue
        highest.append(measured.highest_stored)
        levels += measured.levels
        widths.append(measured.size_px[0])
        heights.append(measured.size_px[1])
        grey += measured.grey
    measured_data = replace(data, images=images)
    if strict:
        refuse_unusable(measured_data, unusable)
    images = leave_out(measured_data, unusable).images
    mean, std = _moments(levels / len(images))
    return Statistics(
        images=len(images),
        split="train" if data.has_splits else None,
        mean=mean,
        std=std,
        width_px=_spread(widths),
        height_px=_spread(heights),
        megapixels=_spread([width * height / 1e6 for width, height in zip(widths, heights, strict=True)]),
        grey_share=grey / len(images),
        counts=count_labels(all_labels(images), data.classes),
        deep=deep_images(highest) if value_range is None else DeepImages(0, 0),
        left_out=tuple(unusable),
        labels=label_statistics(images, data.classes) if data.multi_label else None,
    )


def advise(found: Statistics, backbone: Normalization = IMAGENET) -> Advice:
    """Whether pretrained weights should see these images with the backbone's normalisation or with the data's own.

    A rule of thumb: within half a std and a factor of 1.5 of the images that the weights were trained on, the
    backbone's own normalisation fits; beyond that, the data's statistics bring the inputs back to that range.
    """
    seen = training_statistics(backbone)
    shift = max(abs(m - t) / s for m, t, s in zip(found.mean, seen.mean, seen.std, strict=True))
    ratio = max(
        (s / t for s, t in zip(found.std, seen.std, strict=True)), key=lambda value: abs(math.log(value + 1e-6))
    )
    far = shift > FAR_STDS or not 1 / FAR_RATIO <= ratio <= FAR_RATIO
    measured = f"means up to {shift:.2f} std from the images it was trained on, {ratio:.2f} of their spread"
    reason = (
        f"{measured}: {'too far' if far else 'close enough'} (up to {FAR_STDS:g} std and a factor of {FAR_RATIO:g})"
    )
    data = data_normalization(found, backbone)
    return Advice("data" if far else "backbone", reason, shift, ratio, backbone, data, _notes(found))


def training_statistics(backbone: Normalization) -> Normalization:
    """Mean and std of the images that a backbone was trained on.

    Those that it normalises with, unless they are a mere scale, equal for all channels, such as 0.5 and 0.5 for -1..1:
    then ImageNet's.
    """
    is_scale = len(set(backbone.mean)) == 1 and len(set(backbone.std)) == 1
    return IMAGENET if is_scale else backbone


def data_normalization(found: Statistics, backbone: Normalization) -> Normalization:
    """The normalisation that gives these images the mean and std of the backbone's training inputs.

    Mean and std of the data themselves where the backbone's inputs had mean 0 and std 1. A backbone that scales to
    -1..1 saw a std of about 0.46, so its data's are divided by more.
    """
    seen = training_statistics(backbone)
    channels = list(zip(found.mean, found.std, seen.mean, seen.std, backbone.mean, backbone.std, strict=True))
    std = [max(s, 1e-3) * scale / t for _, s, _, t, _, scale in channels]
    mean = [
        m - wide * (centre - zero) / scale for (m, _, centre, _, zero, scale), wide in zip(channels, std, strict=True)
    ]
    return Normalization(_three(mean), _three(std))


def backbone_statistics(name: str) -> Normalization:
    """Mean and std that a timm or torchvision backbone was trained with; no weights are loaded or fetched.

    Raises UsageError for an unknown name, BackendError where timm or torchvision is not installed.
    """
    from edgeclf_export.sources.names import resolve_backbone
    from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

    try:
        guard_torchvision()
        library, known = resolve_backbone(name)
    except ImportError as error:
        raise BackendError(f"{name} needs {error.name}, which is missing: {pip_install('export')}") from error
    if library == "timm":
        import timm

        config = timm.get_pretrained_cfg(known, allow_unregistered=True)
        return Normalization(_three(config.mean), _three(config.std))
    from torchvision import models

    try:
        preset = models.get_model_weights(known).DEFAULT.transforms()
    except (AttributeError, ValueError) as error:
        raise UsageError(f"torchvision states no statistics for {known}") from error
    return Normalization(_three(preset.mean), _three(preset.std))


def _measured(
    images: Sequence[LabelledImage], value_range: tuple[float, float] | None, progress: Progress
) -> Iterable[_Measured | Unreadable]:
    found = in_threads(lambda image: _measure(image, value_range), images)
    return progress.track(found, len(images), "measure")


def _measure(image: LabelledImage, value_range: tuple[float, float] | None) -> _Measured | Unreadable:
    try:
        content = image.read()
        with BUDGET.share() as reserve:
            decoded = decode(content, value_range=value_range, reserve=reserve).image
            return _of_image(decoded, highest_stored(image.path))
    except ImageError as error:
        return Unreadable(image.name, str(error))


def _of_image(image: Image.Image, highest: int | None) -> _Measured:
    levels = np.asarray(image.histogram(), dtype=np.float64).reshape(3, 256)
    red, green, blue = image.split()
    return _Measured(levels / (image.width * image.height), image.size, red == green == blue, highest)


def _moments(levels: NDArray[np.float64]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std of R, G, B in 0..1 from the mean histogram (3, 256)."""
    values = np.arange(256) / 255
    mean = levels @ values
    variance = levels @ values**2 - mean**2
    return _three(mean), _three(np.sqrt(np.maximum(variance, 0)))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), statistics.median(values), max(values))


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _notes(found: Statistics) -> tuple[str, ...]:
    notes = []
    if found.deep.value_range is not None:
        notes.append(str(found.deep))
    elif found.deep.images and max(found.mean) < _DARK_MEAN:
        notes.append(
            f"dark on the whole, as X-rays are, though values reach {found.deep.highest:,}: if few pixels alone do, "
            "--window LOW,HIGH shows the others"
        )
    if found.grey_share >= _GREY_SHARE:
        notes.append("grey images (R = G = B): the three channels are equal, so leave colour augmentation off")
    elif found.grey_share > 0:
        notes.append(
            f"{found.grey_share:.1%} of the images are grey; if they belong to few classes, a network may learn the "
            "missing colour instead of the content"
        )
    if min(found.std) < 0.02 and found.deep.value_range is None:
        notes.append("hardly any contrast: check the bit depth of the files")
    return tuple(notes)
