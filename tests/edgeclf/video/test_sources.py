"""Where streams come from: what FFmpeg may open, and what is refused in a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgeclf.video.sources import PROTOCOLS, find_source
from edgeclf_runtime.errors import DataError, UsageError


def test_a_file_may_lead_to_files_only(tmp_path: Path) -> None:
    (tmp_path / "concat:a|b.mp4").touch()
    found = find_source(str(tmp_path / "concat:a|b.mp4"))
    assert found.address.startswith("file:/") and found.options == {"protocol_whitelist": "file"}
    assert not found.live


@pytest.mark.parametrize("scheme", PROTOCOLS)
def test_a_url_is_live_and_never_leads_to_files(scheme: str) -> None:
    found = find_source(f"{scheme.upper()}://camera:554/one")
    assert found.live and "file" not in found.options["protocol_whitelist"].split(",")


def test_neither_password_nor_token_is_shown() -> None:
    found = find_source("rtsp://admin:secret@camera:554/one?token=secret#secret")
    assert found.shown == "rtsp://camera:554/one"
    assert found.address == "rtsp://admin:secret@camera:554/one?token=secret#secret"


@pytest.mark.parametrize("place", ["ftp://host/a.mp4", "file:///etc/passwd", "concat://a", "http://[::1/x"])
def test_other_urls_are_refused(place: str) -> None:
    with pytest.raises(UsageError, match=r"choose one of|no URL"):
        find_source(place)


def test_what_is_no_stream_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="wanted a video file, a camera"):
        find_source(str(tmp_path / "pipe"))
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/missing.mp4: No such file")):
        find_source(str(tmp_path / "missing.mp4"))
    with pytest.raises(DataError, match="embedded null"):
        find_source("null\0byte")


def test_a_character_device_is_a_camera() -> None:
    found = find_source("/dev/null")
    assert (found.format, found.live) == ("v4l2", True)
