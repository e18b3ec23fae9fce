"""The argument that the commands of `edgeclf data` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="Data set: a folder with one subfolder per class, a CSV file, or a split from `edgeclf data split`.",
    ),
]
