"""Images with their hashes: what the same image is, whatever it is called."""

from __future__ import annotations

from dataclasses import replace

from edgeclf.data.kept_hashes import Entry, kept_hashes
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import hash_image
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
