"""Where images come from: files and folders that were named, paths on a stream, folders that are watched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.decode import find_images

_State = tuple[int, int, int]  # size, time of change, inode: what tells a finished file from one that still grows


@dataclass(frozen=True, slots=True)
class Images:
    """Paths of images, how many other files were passed over, and the folders that held no image."""

    paths: tuple[str, ...]
    others: int = 0
    empty: tuple[str, ...] = ()


def collect_images(places: Iterable[str]) -> Images:
    """The files among `places`, and the images under the folders among them, in that order.

    A file that was named is kept whatever it is called or holds: its own error is reported. Raises DataError where a
    folder can't be read.
    """
    paths: list[str] = []
    others, empty = 0, []
    for place in places:
        if not os.path.isdir(place):
            paths.append(place)
            continue
        found, passed_over = find_images(Path(place))
        paths += map(str, found)
        others += passed_over
        if not found:
            empty.append(place)
    return Images(tuple(paths), others, tuple(empty))


def read_paths(stream: BinaryIO, *, separator: bytes = b"\n") -> Iterator[Images]:
    """Images named on `stream` (a file, pipe or terminal), as soon as they arrive: each is predicted at once."""
    rest = b""
    while block := os.read(stream.fileno(), 1 << 16):
        *lines, rest = (rest + block).split(separator)
        if lines:
            yield _named(lines, separator)
    if rest:
        yield _named([rest], separator)


def _named(lines: list[bytes], separator: bytes) -> Images:
    if separator == b"\n":
        lines = [line.removesuffix(b"\r") for line in lines]
    return collect_images(os.fsdecode(line) for line in lines if line)


def watch_folders(
    folders: Sequence[str], *, interval_s: float = 0.5, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Images]:
    """For ever: the images in `folders`, each once it stays the same from one scan to the next, and again if replaced.

    Raises DataError where a folder can't be read twice in a row; a subfolder may vanish during one scan.
    """
    taken: dict[str, _State] = {}
    before: dict[str, _State] = {}
    failed = ""
    while True:
        try:
            now, failed = _look(folders), ""
        except DataError as error:
            if failed or not all(map(os.path.isdir, folders)):
                raise
            now, failed = before, str(error)
        fresh = [path for path, state in now.items() if before.get(path) == state and taken.get(path) != state]
        taken = {path: state for path, state in taken.items() if path in now}
        taken.update((path, now[path]) for path in fresh)
        before = now
        if fresh:
            yield Images(tuple(fresh))
        sleep(interval_s)


def _look(folders: Sequence[str]) -> dict[str, _State]:
    states = {}
    for folder in folders:
        for path in find_images(Path(folder))[0]:
            try:
                status = path.stat()
            except OSError:  # gone since it was listed, or a link to nowhere
                continue
            states[str(path)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return states
