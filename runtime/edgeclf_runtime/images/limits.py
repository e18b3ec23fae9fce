"""What a single image may cost: its file's size and its number of pixels, checked before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf_runtime.errors import ImageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a single image may cost. The defaults admit a 50-megapixel phone image and stop a decompression bomb.

    Attributes
    ----------
    megapixels
        Width x height, in millions.
    megabytes
        Size of the file, in millions of bytes.

    Examples
    --------
    >>> from edgeclf_runtime import Limits
    >>> Limits(megapixels=200)  # for large scans
    Limits(megapixels=200, megabytes=64.0)
    """

    megapixels: float = 64.0
    megabytes: float = 64.0

    def check_bytes(self, found: int) -> None:
        """Raises ImageError for a file of more bytes."""
        if found > self.megabytes * 1e6:
            limit = f"over the limit of {self.megabytes:g} MB; raise it (--max-megabytes) if the file is intended"
            raise ImageError(f"{found / 1e6:.0f} MB, {limit}")

    def check_size(self, width: int, height: int) -> None:
        """Raises ImageError for more pixels."""
        if width * height > self.megapixels * 1e6:
            raise ImageError(
                f"{width}x{height} is {width * height / 1e6:.4g} megapixels, over the limit of "
                f"{self.megapixels:g}; raise it (--max-megapixels) if the image is intended"
            )
