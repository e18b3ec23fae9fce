"""Where a stream comes from: a video file, a camera of this machine, or a URL; and what FFmpeg may open for it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from edgeclf_runtime.errors import DataError, UsageError

# What FFmpeg needs to open for a URL of each kind, and no more: a playlist can't lead it to files of this machine.
PROTOCOLS = {
    "http": "http,tcp",
    "https": "https,tls,tcp",
    "rtmp": "rtmp,tcp",
    "rtp": "rtp,udp",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,udp,tls,tcp",
    "tcp": "tcp",
    "udp": "udp",
}
_AT_ONCE = {"flags": "low_delay"}  # a decoder then holds no frame back; "nobuffer" would lose those that were probed


@dataclass(frozen=True, slots=True)
class StreamSource:
    """What FFmpeg opens (`address`, `format`, `options`), what people read (`shown`), and whether it is `live`."""

    address: str
    shown: str
    live: bool
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)


def find_source(place: str) -> StreamSource:
    """The stream at `place`. Raises UsageError for an unknown kind of URL, DataError where there is no such file."""
    if "://" in place:
        return _url(place)
    try:
        mode = os.stat(place).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise DataError(f"{place}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISCHR(mode):
        return StreamSource(place, place, live=True, format="v4l2", options=dict(_AT_ONCE))
    if not stat.S_ISREG(mode):
        raise DataError(f"{place}: wanted a video file, a camera (/dev/video0) or a URL")
    # "file:", or a name such as concat:a|b or a playlist would open other things
    return StreamSource(f"file:{place}", place, live=False, options={"protocol_whitelist": "file"})


def _url(place: str) -> StreamSource:
    try:
        parts = urlsplit(place)
        scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
    except ValueError as error:
        raise UsageError(f"{place!r} is no URL ({error})") from error
    if scheme not in PROTOCOLS:
        raise UsageError(f"no streams from {scheme!r} URLs; choose one of {', '.join(PROTOCOLS)}, a file or a camera")
    shown = urlunsplit((scheme, host, parts.path, "", ""))  # without password or token
    options = {**_AT_ONCE, "protocol_whitelist": PROTOCOLS[scheme]}
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"  # lost packets would come as grey blocks, and as wrong predictions
    return StreamSource(place, shown, live=True, options=options)
