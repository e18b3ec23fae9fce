"""Weights that were adapted to unlabelled images: the record of it in the file's header."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.errors import DataError

WEIGHTS = "model.safetensors"
HEADER_KEY = "edgeclf_adapted"
_HASH_DIGITS = 16  # of SHA-256: 64 bits are enough to tell images apart, and the header stays small
_LONGEST_HEADER = 100_000_000  # safetensors' own limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """How weights were trained without labels. They hold no head.

    Attributes
    ----------
    backbone, weights
        The architecture, and where the adaptation started from.
    images, data, image_hashes
        How many images it saw, the name of their folder, and the first 16 digits of the SHA-256 of each file.
    embedding_std, embedding_rank
        How far the last epoch was from collapse: the mean deviation of a dimension (1 is best, 0 is collapse) and the
        effective number of dimensions.
    """

    schema: int = 1
    method: str = "VICReg"
    backbone: str
    weights: str
    img_size_px: tuple[int, int]
    data: str
    images: int
    epochs: int
    seed: int
    seconds: float
    embedding_std: float
    embedding_rank: float
    created_utc: str
    image_hashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"adapted to {self.images} unlabelled images of {self.data}, from {self.weights}"

    def count_seen(self, digests: Iterable[str]) -> int:
        """How many of these SHA-256 digests belong to images that the weights were adapted to."""
        seen = set(self.image_hashes)
        return sum(digest[:_HASH_DIGITS] in seen for digest in digests)


def shortened(digests: Iterable[str]) -> tuple[str, ...]:
    """SHA-256 digests as `Adapted` keeps them: each once, sorted, so that no order is recorded."""
    return tuple(sorted({digest[:_HASH_DIGITS] for digest in digests}))


def weights_in(place: Path) -> Path:
    """The weights file in a folder that `adapt` or `train` wrote; any other path as it is."""
    return place / WEIGHTS if (place / WEIGHTS).is_file() else place


def header_of(adapted: Adapted) -> dict[str, str]:
    """What `read_adapted` reads, as the metadata of a safetensors file."""
    return {"format": "pt", HEADER_KEY: json.dumps(to_json(adapted))}


def read_adapted(path: Path) -> Adapted | None:
    """The record of its adaptation in a weights file; None where there is none, or it is no safetensors file."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            header = file.read(length) if 0 < length <= _LONGEST_HEADER else b""
        content = json.loads(header) if header.startswith(b"{") else {}
        record = (content.get("__metadata__") or {}).get(HEADER_KEY)
        document = None if record is None else json.loads(record)
    except (OSError, ValueError, RecursionError, AttributeError):
        return None  # loading the tensors reports what is wrong with the file
    if document is None:
        return None
    if not isinstance(document, dict) or document.get("schema") != 1:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise DataError(f"{path}: adapted by another edgeclf (schema {schema}); update this one")
    return from_json(Adapted, document, f"{path}: {HEADER_KEY}")
