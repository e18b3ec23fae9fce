"""A training image that an image looks like: what `predict --nearest` shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training image whose features are near.

    Attributes
    ----------
    path
        As the split has it, relative to the data's folder.
    label
        Its class, or all its labels, "cat|dog", "" for none.
    similarity
        The cosine of its features and the image's, -1..1.
    """

    path: str
    label: str
    similarity: float
