"""Videos: frames in order, upright, RGB; what breaks off says so after the frames before it."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import picture, write_video

from edgeclf.video.sources import StreamSource, find_source
from edgeclf.video.video import Frame, Video
from edgeclf_runtime.errors import DataError

av = pytest.importorskip("av")
Serve = Callable[[bytes, bool], str]


def frames_of(place: object, **how: Any) -> list[Frame]:
    video = Video(find_source(str(place)), **how)
    found = [video.frame(shot) for shot in video.shots()]
    video.close()
    return found


def near(frame: Frame, wanted: Any) -> bool:
    return frame.pixels.shape == wanted.shape and bool(np.abs(frame.pixels.astype(int) - wanted).mean() < 12)


@pytest.mark.parametrize("codec, name", [("mpeg4", "a.mp4"), ("libx264", "a.mkv"), ("mpeg2video", "a.ts")])
def test_frames_come_in_order_as_rgb(codec: str, name: str, tmp_path: Path) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    frames = frames_of(write_video(tmp_path / name, codec=codec))
    assert [frame.number for frame in frames] == list(range(12))
    assert all(near(frame, picture(frame.number)) for frame in frames)
    times = [frame.time_s for frame in frames]
    assert np.allclose(np.diff(times), 0.1)


def test_every_third_frame(video: Path) -> None:
    frames = frames_of(video, every=3)
    assert [frame.number for frame in frames] == [0, 3, 6, 9]
    assert all(near(frame, picture(0)) for frame in frames)


@pytest.mark.parametrize("degrees, turns", [(90, 3), (180, 2), (270, 1)])
def test_a_telephone_held_upright_gives_upright_frames(degrees: int, turns: int, video: Path) -> None:
    data = bytearray(video.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # the matrix of a version 0 track header: ISO/IEC 14496-12, 8.3.2
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data[place : place + 36] = struct.pack(">9i", *matrix)
    video.write_bytes(data)
    first = frames_of(video)[0]  # a player turns clockwise by `degrees`
    assert near(first, np.rot90(picture(0), turns))


def test_a_file_that_plays_takes_its_time(video: Path) -> None:
    start = time.monotonic()
    frames = frames_of(video, plays=True)
    assert time.monotonic() - start >= 1.0  # the last of 12 frames at 10 frames/s is due after 1.1 s
    assert len(frames) == 12


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4: can't be opened \(Invalid data"):
        frames_of(tmp_path / "a.mp4")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(DataError, match=r"a\.wav: holds no video"):
        frames_of(tmp_path / "a.wav")


def test_a_playlist_opens_nothing_on_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/a.ts"
        (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(DataError):
            frames_of(tmp_path / "a.m3u8")
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_damaged_packet_is_counted_and_costs_its_own_frame(video: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "spoiled.mkv"
    with av.open(str(video)) as source, av.open(str(damaged), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            if number == 5:
                times = packet.pts, packet.dts, packet.time_base
                packet = av.Packet(bytes(packet)[::-1])
                packet.pts, packet.dts, packet.time_base = times
            packet.stream = stream
            copy.mux(packet)
    opened = Video(find_source(str(damaged)))
    assert len([opened.frame(shot) for shot in opened.shots()]) == 11
    assert opened.damaged == 1


@pytest.mark.parametrize("stays, reason", [(False, "broke off (Input/output error)"), (True, "nothing came for 1 s")])
def test_a_camera_that_goes_gives_its_frames_first(stays: bool, reason: str, tmp_path: Path, web_camera: Serve) -> None:
    data = write_video(tmp_path / "a.ts", frames=60, codec="mpeg2video").read_bytes()
    source = find_source(web_camera(data, stays))
    video = Video(source, timeout_s=1.0)
    numbers = []
    with pytest.raises(DataError, match=re.escape(reason)) as error:
        for shot in video.shots():
            numbers.append(shot.number)
    assert "secret" not in str(error.value)
    assert numbers == list(range(len(numbers))) and 30 <= len(numbers) < 60


def test_frames_that_the_decoder_holds_come_before_the_error(video: Path) -> None:
    opened = Video(find_source(str(video)))
    opened._container = Unplugged(opened._container, after=5)
    seen: list[int] = []
    with pytest.raises(DataError, match=r"colours\.mp4: broke off \(No such device\)"):
        for shot in opened.shots():
            seen.append(shot.number)
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name, options", [("a.mkv", {}), ("a.mp4", {"movflags": "faststart"})])
def test_a_file_that_was_cut_says_so_after_its_frames(name: str, options: dict[str, str], tmp_path: Path) -> None:
    path = write_video(tmp_path / name, frames=60, **options)
    assert len(frames_of(path)) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = Video(find_source(str(path)))
    numbers: list[int] = []
    with pytest.raises(DataError, match=rf"{name}: ends at \d\.\d s of 6\.0 s; the rest is missing"):
        numbers.extend(shot.number for shot in video.shots())
    assert numbers == list(range(len(numbers))) and 10 <= len(numbers) < 50


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_sound_that_outlasts_the_images_is_no_fault(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        for number in range(80):  # 5 s of silence
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16000, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(stream.encode())
        container.mux(sound.encode())
    assert len(frames_of(path)) == 20


class Unplugged:
    """A container whose camera is gone after some packets."""

    def __init__(self, container: Any, after: int) -> None:
        self._container, self._after = container, after

    def demux(self, stream: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux(stream)):
            if number == self._after:
                raise av.error.OSError(19, "No such device")
            yield packet


def test_a_live_stream_over_tcp_is_read_while_it_is_written(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.ts", frames=100, codec="mpeg2video").read_bytes()
    half = len(data) // 2 // 188 * 188
    goes_on = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(data[:half])
                goes_on.wait()
                connection.sendall(data[half:])

        threading.Thread(target=send, daemon=True).start()
        video = Video(find_source(f"tcp://127.0.0.1:{listening.getsockname()[1]}"), timeout_s=20)
        shots = video.shots()
        first = [next(shots).number for _ in range(5)]
        goes_on.set()
        assert first + [shot.number for shot in shots] == list(range(100))
        video.close()


def test_a_device_that_is_no_camera_is_refused() -> None:
    with pytest.raises(DataError, match="/dev/null: can't be opened"):
        Video(StreamSource("/dev/null", "/dev/null", live=True, format="v4l2"))
