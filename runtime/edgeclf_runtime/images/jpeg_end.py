"""JPEGs that lack only their end marker, as against those that were cut short: the latter lost pixels."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable

from PIL import Image

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
# What stands behind complete data is never decoded. Bits of several patterns find out whether a decoder wants more.
_RESTARTS = b"".join(bytes((0xFF, 0xD0 + number)) + b"\x55\xaa\x3c" * 20 for number in range(8))
_TAILS = (b"", b"\x55\xaa\x3c" * 400, b"\xff\0" * 600, b"\x92\x49\x24\xdb" * 300, _RESTARTS * 4)
_NO_LENGTH = (0xD8, 0xD9, 0x01)


def with_end_marker(data: bytes, check_size: Callable[[int, int], None]) -> tuple[bytes, str] | None:
    """The JPEG with its end marker added, and a note; None: it has one, or it is cut, so that pixels are missing."""
    data = data.rstrip(b"\xff")  # half a marker
    if not data.startswith(b"\xff\xd8") or data.endswith(_END) or not _all_scans_begun(data):
        return None
    digests = {_digest(data + tail + _END, check_size) for tail in _TAILS}
    if len(digests) != 1 or None in digests:
        return None
    return data + _END, "the end marker is missing; all pixels are there"


def _digest(data: bytes, check_size: Callable[[int, int], None]) -> bytes | None:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            check_size(*image.size)
            image.load()
            return hashlib.blake2b(image.tobytes()).digest()
    except (OSError, SyntaxError, ValueError):
        return None


def _all_scans_begun(data: bytes) -> bool:
    """True where the scans hold every coefficient's last bit of every component (ITU T.81, B.2.3 and G.1.1)."""
    missing: set[tuple[int, int]] | None = None
    place = 2
    while (match := _MARKER.search(data, place)) is not None:
        marker, place = match[1][0], match.end()
        if marker in _NO_LENGTH or 0xD0 <= marker <= 0xD7:
            continue
        segment = data[place + 2 : place + int.from_bytes(data[place : place + 2], "big")]
        place += 2 + len(segment)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if len(segment) < 6 or len(segment) < 6 + 3 * segment[5]:
                return False
            missing = {(segment[6 + 3 * i], k) for i in range(segment[5]) for k in range(64)}
        elif marker == 0xDA:
            if missing is None or not segment or len(segment) < 4 + 2 * segment[0]:
                return False
            first, last, precision = segment[1 + 2 * segment[0] :][:3]
            if precision & 15 == 0:
                parts = range(first, last + 1)
                missing -= {(segment[1 + 2 * i], k) for i in range(segment[0]) for k in parts}
    return missing is not None and not missing
