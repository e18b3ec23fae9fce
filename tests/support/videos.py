"""Small videos for tests: frames of one colour each, red, green and blue in turn, the upper half lighter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def picture(number: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """(48, 64, 3) of one colour; the upper half is lighter, so that a turn shows."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[..., number % 3] = 160
    pixels[: size[1] // 2] += 60
    return pixels


def write_video(path: Path, frames: int = 12, codec: str = "mpeg4", rate: int = 10, **options: str) -> Path:
    """`options` are the muxer's."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
