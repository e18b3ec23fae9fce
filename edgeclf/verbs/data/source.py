"""The argument that the commands of `edgeclf data` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeclf.data.several_labels import SeveralLabels

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="Data set: a folder with one subfolder per class, a CSV file, or a split from `edgeclf data split`.",
    ),
]
MultiLabel = Annotated[
    bool,
    typer.Option(
        "--multi-label",
        help="Several labels an image, for class folders: an image that lies in several of them, as a link or a copy, "
        "has all their labels. A CSV needs no option: it has a column labels, such as cat|dog, or one of 0 and 1 for "
        "each label.",
    ),
]

Rehash = Annotated[
    bool,
    typer.Option(
        "--rehash",
        help="Read all files; else those of the same size and time of change as when an earlier command read them keep "
        "their hashes.",
    ),
]


def several_labels_of(multi_label: bool) -> SeveralLabels:
    """How data are read by a command that knows several labels an image."""
    return "wanted" if multi_label else "known"
