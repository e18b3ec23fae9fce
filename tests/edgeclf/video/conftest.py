"""Small videos whose frames are red, green and blue in turn, and a tiny bundle that tells these colours apart."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from videos import write_video

from edgeclf_runtime.bundle.bundle import Bundle

COLOURS = ("red", "green", "blue")
Make = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Three labels; a channel's sum is its logit."""
    weight = np.zeros((tiny.SIDE * tiny.SIDE * 3, 3), dtype=np.float32)
    for channel in range(3):
        weight[channel::3, channel] = 8 / 64
    tiny.build(tmp_path / "colours", labels=COLOURS)
    np.savez(tmp_path / "colours/model.npz", weight=weight, bias=np.zeros(3, dtype=np.float32))
    return tiny.reseal(tmp_path / "colours")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """1.2 s at 10 frames/s, MPEG-4 in MP4."""
    return write_video(tmp_path / "colours.mp4")


Serve = Callable[[bytes, bool], str]


@pytest.fixture
def web_camera() -> Iterator[Serve]:
    """A function (data, stays) -> URL of a server that sends the first 2/3 of a video, then goes silent or hangs up."""
    held: list[socket.socket] = []

    def serve(data: bytes, stays: bool) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        held.append(listening)

        def answer() -> None:
            connection, _ = listening.accept()
            held.append(connection)
            connection.recv(4096)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: {len(data)}\r\n\r\n"
            connection.sendall(head.encode() + data[: len(data) * 2 // 3])
            if not stays:
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        return f"http://user:secret@127.0.0.1:{listening.getsockname()[1]}/camera.ts?token=secret"

    yield serve
    for each in held:
        each.close()
