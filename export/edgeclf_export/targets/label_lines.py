"""A bundle's labels as labels.txt, which Android's tools, servers and `inspect --snippet`'s programs read."""

from __future__ import annotations

from collections.abc import Sequence

LABELS = "labels.txt"


def one_line(label: str) -> str:
    """The label without line breaks, which would move each later one to another class."""
    return " ".join(label.split())


def label_lines(labels: Sequence[str]) -> str:
    """A line a class, in order."""
    return "".join(f"{one_line(label)}\n" for label in labels)
