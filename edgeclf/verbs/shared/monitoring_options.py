"""The options of `predict` and `serve` about what a device sees; apart from the work, which needs no Typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Collect = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for images worth a label: unknown ones, and those near a threshold or between two classes; each "
        "once, without metadata, with the prediction beside it.",
        show_default="none are kept",
    ),
]
CollectImages = Annotated[
    int, typer.Option("--collect-images", min=1, metavar="N", help="Largest number of images in --collect's folder.")
]
CollectMegabytes = Annotated[
    float, typer.Option("--collect-megabytes", min=0.1, metavar="N", help="Largest size of --collect's folder.")
]
CollectWith = Annotated[
    str | None,
    typer.Option(
        "--collect-with",
        metavar="BUNDLE",
        help="Second bundle of the same classes: images that it predicts otherwise are collected, too. Each image then "
        "costs both.",
        show_default=False,
    ),
]
SummaryPath = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        help="JSON file that counts predictions, confidences, energies and how images look, for `edgeclf drift`. With "
        "--watch and --source it is written every minute, and an existing one goes on.",
        show_default=False,
    ),
]
