"""One fetched image, and the error of a failed download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgeclf_runtime.images.labelled import Split


class DownloadFailed(Exception):
    """Why a download failed; `fetch_dataset` adds the data set's name."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One image to be stored in a folder: decoded, to be written as PNG, or a file, to be moved.

    `label`: a tuple where an image may have several labels, or none.
    """

    image: Image.Image | Path
    label: str | tuple[str, ...]
    split: Split | None
    name: str  # without suffix
    group: str | None = None
