"""Images with their hashes: what the same image is, whatever it is called."""

from __future__ import annotations

from dataclasses import replace

from edgeclf.data.kept_hashes import Entry, kept_hashes
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, hash_image
from edgeclf_runtime.progress import SILENT, Progress


def hash_images(data: DataSplit, progress: Progress = SILENT, *, rehash: bool = False) -> DataSplit:
    """The same with the SHA-256 of those that have none yet. Raises DataError for a file that can't be read.

    `rehash`: all files are read; else only those that have changed since an earlier command hashed them.
    """
    if all(image.sha256 for image in data.images):
        return data
    with kept_hashes(data.root, progress, rehash=rehash) as kept:
        found = kept.through(
            data.images, lambda image: hash_image(image.path), entry_of=Entry, known=lambda entry: entry.sha256
        )
        hashes = progress.track(found, len(data.images), "hash")
        images = tuple(replace(image, sha256=each) for image, each in zip(data.images, hashes, strict=True))
    return replace(data, images=images)


def hash_readable(
    data: DataSplit, progress: Progress = SILENT, *, rehash: bool = False
) -> tuple[DataSplit, dict[str, DataError]]:
    """As `hash_images`, of the files that can be read; and the errors of the others, by the images' names."""
    with kept_hashes(data.root, progress, rehash=rehash) as kept:
        found = kept.through(data.images, _hash, entry_of=_entry, known=lambda entry: entry.sha256)
        each = list(zip(data.images, progress.track(found, len(data.images), "hash"), strict=True))
    errors = {image.name: found for image, found in each if isinstance(found, DataError)}
    return replace(
        data, images=tuple(replace(image, sha256=found) for image, found in each if isinstance(found, str))
    ), errors


def _hash(image: LabelledImage) -> str | DataError:
    try:
        return hash_image(image.path)
    except DataError as error:
        return error


def _entry(found: str | DataError) -> Entry | None:
    return Entry(found) if isinstance(found, str) else None
