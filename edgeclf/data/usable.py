"""Which images of a split can be used: they are there, are those that the split was made with, and can be decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from edgeclf.data.sources import some
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.predict import prepare_images
from edgeclf_runtime.progress import SILENT, Progress

ValueRange = tuple[float, float]
_MOST_LEFT_OUT = 0.5  # beyond it the folder is another, or the value range is missing, and a rest proves nothing


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that can't be used, and why; the path is relative to the data's root."""

    path: str
    error: str


def find_unusable(
    images: Sequence[LabelledImage], value_range: ValueRange | None = None, *, progress: Progress = SILENT
) -> tuple[Unreadable, ...]:
    """Those of the images that can't be used. Each is read and decoded once, in threads."""
    checked = progress.track(prepare_images(images, lambda image: image.check(value_range)), len(images), "read")
    return tuple(Unreadable(image.name, str(error)) for image, error in checked if error is not None)


def leave_out(data: DataSplit, unusable: Collection[Unreadable]) -> DataSplit:
    """The split without these images. Raises DataError where they are more than half of all."""
    if len(unusable) > _MOST_LEFT_OUT * len(data.images):
        raise DataError(f"{data.root}: {left_out_sentence(unusable, len(data.images))}")
    paths = {each.path for each in unusable}
    return replace(data, images=tuple(image for image in data.images if image.name not in paths))


def refuse_unusable(data: DataSplit, unusable: Collection[Unreadable]) -> None:
    """What --strict does: raises DataError where there are any."""
    if unusable:
        sentence = left_out_sentence(unusable, len(data.images))
        raise DataError(f"{data.root}: {sentence}; without --strict they are left out")


def left_out_sentence(unusable: Iterable[Unreadable], images: int) -> str:
    """How many of `images` can't be used, and the first few with the reason."""
    named = [f"{each.path} ({each.error})" for each in unusable]
    return f"{len(named):,} of {images:,} images can't be used: {some(named, '; ')}"
