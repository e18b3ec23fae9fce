"""A video or camera, opened with PyAV (FFmpeg): its frames in order, upright, as RGB.

Cameras, RTSP, RTP, RTMP and https were never run by the authors, who had none; files, HTTP, TCP and UDP were.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.video.sources import StreamSource
from edgeclf_runtime.errors import DataError

_WITH_LENGTH = ("matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2")  # their headers have the length; others' is guessed
_MISSED_S = 1.0  # less is no fault: sound may outlast the images, and lengths are rounded


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as FFmpeg decoded it: its number from 0, its time in the stream, and when it came (monotonic clock)."""

    number: int
    time_s: float | None
    arrived: float
    decoded: Any


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame for the classifier: `pixels` is (H, W, 3) uint8 RGB, upright."""

    number: int
    time_s: float | None
    arrived: float
    pixels: NDArray[np.uint8]


class Video:
    """An open stream. `shots` may be taken by one thread.

    Parameters
    ----------
    every
        Of so many frames, the first is given.
    timeout_s
        How long a live source may send nothing.
    plays
        Gives the frames of a file at their time, as a camera would, not as fast as they are read.

    Attributes
    ----------
    damaged
        Frames that FFmpeg could not decode, or marked as corrupt, so far.
    """

    def __init__(self, source: StreamSource, *, every: int = 1, timeout_s: float = 10.0, plays: bool = False) -> None:
        import av

        self.source = source
        self.damaged = 0
        self._every = every
        self._timeout_s = timeout_s
        self._plays = plays and not source.live
        timeout = timeout_s if source.live else None
        with self._told("can't be opened"):
            self._container = av.open(source.address, format=source.format, options=source.options, timeout=timeout)
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{source.shown}: holds no video")
        self._stream = self._container.streams.video[0]
        # threads over several frames are faster, but each holds one back
        self._stream.thread_type = "SLICE" if source.live else "AUTO"
        self._ends_s = _promised_end_s(self._container, self._stream)
        self._reached_s = 0.0

    def shots(self) -> Iterator[Shot]:
        """Each frame, or each `every`-th. Raises DataError where the stream breaks off; what came before it came."""
        number, start = 0, time.monotonic()
        for decoded in self._decoded_frames():
            if number % self._every == 0:
                time_s = self._time_s(decoded)
                if self._plays and time_s is not None:
                    time.sleep(max(0.0, start + time_s - time.monotonic()))
                yield Shot(number, time_s, time.monotonic(), decoded)
            number += 1
        if number == 0:
            raise DataError(f"{self.source.shown}: no frame could be decoded")

    def _time_s(self, decoded: Any) -> float | None:
        """By the stream's clock: up to PyAV 17, frames that the decoder held back have none of their own."""
        if decoded.pts is None or not self._stream.time_base:
            return None
        return float(decoded.pts * self._stream.time_base)

    def _decoded_frames(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                with self._told("broke off"):
                    packet = next(packets, None)
            except DataError:
                yield from self._decoded(lambda: self._stream.codec_context.decode(None))  # what the decoder held back
                raise
            if packet is None:
                break
            if packet.pts is not None and packet.time_base:
                self._reached_s = max(self._reached_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            yield from self._decoded(packet.decode)
        if self._ends_s is not None and self._reached_s < self._ends_s - _MISSED_S:
            raise DataError(
                f"{self.source.shown}: ends at {self._reached_s:.1f} s of {self._ends_s:.1f} s; the rest is missing"
            )

    def _decoded(self, decode: Callable[[], list[Any]]) -> Iterator[Any]:
        import av

        with self._told("can't be decoded"):
            try:
                decoded_frames = decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                return
            except EOFError:  # the decoder was emptied before
                return
        for decoded in decoded_frames:
            self.damaged += bool(decoded.is_corrupt)
            yield decoded

    def frame(self, shot: Shot) -> Frame:
        """`shot` in RGB, turned as the file states: a phone held upright writes frames on their side and an angle."""
        with self._told("can't be converted to RGB"):
            pixels = shot.decoded.to_ndarray(format="rgb24")
        turns = round(shot.decoded.rotation / 90) % 4
        return Frame(shot.number, shot.time_s, shot.arrived, np.ascontiguousarray(np.rot90(pixels, turns)))

    def _told(self, what: str) -> _Told:
        return _Told(self.source, what, self._timeout_s)

    def close(self) -> None:
        self._container.close()


def _promised_end_s(container: Any, stream: Any) -> float | None:
    """When the images end by the file's header; None where it has no length. Cut files end without an error."""
    if container.format.name not in _WITH_LENGTH:
        return None
    start_s = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return start_s + float(stream.duration * stream.time_base)
    # Matroska has lengths of its streams as tags only, and they include the start
    tagged = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
    if tagged:
        hours, minutes, seconds = map(float, tagged.groups())
        return 3600 * hours + 60 * minutes + seconds
    if container.duration and len(container.streams) == 1:  # else it is the longest stream's
        return start_s + float(container.duration) / 1e6
    return None


class _Told:
    """FFmpeg's errors as DataError: which stream, what happened, why."""

    def __init__(self, source: StreamSource, what: str, timeout_s: float) -> None:
        self._source, self._what, self._timeout_s = source, what, timeout_s

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import av

        if isinstance(error, av.error.ExitError):
            raise DataError(f"{self._source.shown}: nothing came for {self._timeout_s:g} s (--timeout)") from error
        if isinstance(error, av.error.FFmpegError):
            # only FFmpeg's sentence: its file name may hold a password
            raise DataError(f"{self._source.shown}: {self._what} ({error.strerror})") from error
