"""Paths that come from a file, such as a manifest: whether they stay where they should, and exist on every system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePath

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: devices, with any extension, and what no name may hold
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]')


def stays_inside(path: str, flavour: type[PurePath] = PurePath) -> bool:
    """Whether a relative path with forward slashes stays below where it starts, as this system reads it.

    `flavour` is another system's reading: to Windows `..\\x` leaves the folder and `C:x` is on another drive; on Linux
    both are names of files.
    """
    parts = path.split("/")
    if "" in parts or ".." in parts or "\0" in path or not _is_encodable(path):
        return False
    if "\\" not in path and ":" not in path:  # one reading everywhere; a split file has a million of them
        return True
    pure = flavour(path)
    return not pure.anchor and ".." not in pure.parts


def _is_encodable(path: str) -> bool:
    """Whether a file can have that name: half of a surrogate pair, which JSON can hold, has no bytes."""
    try:
        return path.isascii() or bool(os.fsencode(path))
    except UnicodeEncodeError:
        return False


def unportable(names: Iterable[str]) -> str | None:
    """Why not every system can have files of all these paths (forward slashes) side by side; None: each can."""
    seen: dict[str, str] = {}
    for path in names:
        for name in path.split("/"):
            if fault := _fault_of(name):
                return f"{path!r}: {fault}"
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            return f"{path!r} and {other!r} are one file to Windows and macOS"
    return None


def _fault_of(name: str) -> str | None:
    if found := _FORBIDDEN.search(name):
        return f"Windows has no file names with {found[0]!r}"
    if name.endswith((".", " ")):
        return "Windows drops a dot or a space at the end of a name"
    if _DEVICE.fullmatch(name):
        return f"{name.partition('.')[0]} is a device to Windows"
    return None
