"""Which images of a split can be used: they are there, are those that the split was made with, and can be decoded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from edgeclf.data.kept_hashes import Entry, kept_hashes
from edgeclf.data.sources import some
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import CHANGED, LabelledImage
from edgeclf_runtime.images.predict import prepare_images
from edgeclf_runtime.progress import SILENT, Progress

ValueRange = tuple[float, float]
_DECODED = "decoded"
_MOST_LEFT_OUT = 0.5  # beyond it the folder is another, or the value range is missing, and a rest proves nothing


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that can't be used, and why; the path is relative to the data's root."""

    path: str
    error: str


def find_unusable(
    images: Sequence[LabelledImage], value_range: ValueRange | None = None, *, progress: Progress = SILENT
) -> tuple[Unreadable, ...]:
    """Those of the images, all under one root, that can't be used. Each is read and decoded, in threads.

    Without a `value_range`, an image that an earlier command has decoded is not read again where its file is unchanged.
    """
    if value_range is not None or not images:
        checked = progress.track(prepare_images(images, lambda image: image.check(value_range)), len(images), "read")
        return tuple(Unreadable(image.name, str(error)) for image, error in checked if error is not None)
    with kept_hashes(images[0].root, progress) as kept:
        found = kept.through(images, _Decoded.of, entry_of=_Decoded.entry, known=_Decoded.known)
        errors = (each.error_of(image) for image, each in zip(images, found, strict=True))
        named = zip(images, progress.track(errors, len(images), "read"), strict=True)
        return tuple(Unreadable(image.name, error) for image, error in named if error is not None)


class _Decoded(NamedTuple):
    """The SHA-256 of a file that was decoded, or why it can't be."""

    sha256: str
    error: str | None = None

    @classmethod
    def of(cls, image: LabelledImage) -> _Decoded:
        try:
            image.check()
        except ImageError as error:
            return cls("", str(error))
        return cls(image.sha256)

    def entry(self) -> Entry | None:
        """What is kept between commands: that it was decoded. What `data check` measures of it takes its place."""
        return Entry(self.sha256, _DECODED) if self.sha256 else None

    @classmethod
    def known(cls, entry: Entry) -> _Decoded | None:
        """None: the file was hashed alone."""
        return cls(entry.sha256) if entry.measured else None

    def error_of(self, image: LabelledImage) -> str | None:
        changed = self.error is None and image.sha256 not in ("", self.sha256)
        return CHANGED if changed else self.error


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
