"""What fetching a data set comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgeclf_runtime.images.labelled import Split


class DownloadFailed(Exception):
    """Why a download came to nothing; `fetch_dataset` says of what."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One image on its way into a folder: a picture, stored as PNG, or a file, which is moved."""

    image: Image.Image | Path
    label: str
    split: Split | None
    name: str  # without suffix
    group: str | None = None
