"""The options of `edgeclf predict` about streams; apart from the work, so that --help loads nothing for it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="STREAM",
        help="Video to classify frame by frame: a file, a camera (/dev/video0) or a URL (rtsp, http, udp, …). Needs "
        'the extra "video". Ctrl-C ends a camera or URL with exit code 0.',
    ),
]
Frames = Annotated[
    Literal["newest", "all"] | None,
    typer.Option(
        help="Frames to predict when they arrive faster than predictions: only the newest, dropping others, or all, in "
        "order. A file is played in real time with newest.",
        show_default="all of a file, the newest of a camera or URL",
    ),
]
Every = Annotated[int, typer.Option(min=1, metavar="N", help="Frame interval of a stream: predict every N-th frame.")]
StreamTimeout = Annotated[
    float,
    typer.Option(min=0.1, metavar="SECONDS", help="Time without a frame after which a camera or URL counts as failed."),
]
