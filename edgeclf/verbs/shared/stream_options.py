"""The options of `edgeclf predict` that speak of streams; apart from the work, so that --help loads nothing for it."""

from __future__ import annotations

from typing import Annotated

import typer

Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="STREAM",
        help="Answer the frames of a video file, a camera (/dev/video0) or a URL (rtsp, http, udp, …). Wants the extra "
        '"video". Ctrl-C ends a camera or URL with exit code 0.',
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        metavar="newest|all",
        help="Frames that come faster than answers: drop them for the newest, or let each wait for its turn. A file "
        "plays in its own time with newest.",
        show_default="all of a file, the newest of a camera or URL",
    ),
]
Every = Annotated[int, typer.Option(min=1, metavar="N", help="Answer each N-th frame of a stream.")]
StreamTimeout = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="A camera or URL that gives nothing for so long has failed.")
]
