"""Images with their hashes: what the same image is, whatever it is called."""

from __future__ import annotations

from dataclasses import replace

from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import hash_image
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.progress import SILENT, Progress


def hash_images(data: DataSplit, progress: Progress = SILENT) -> DataSplit:
    """The same with the SHA-256 of those that have none yet. Raises DataError for a file that can't be read."""
    if all(image.sha256 for image in data.images):
        return data
    hashes = progress.track(in_threads(hash_image, [image.path for image in data.images]), len(data.images), "hash")
    return replace(
        data, images=tuple(replace(image, sha256=each) for image, each in zip(data.images, hashes, strict=True))
    )
