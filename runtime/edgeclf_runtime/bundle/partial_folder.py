"""Hidden folders in which artefacts are made, `.NAME.partial-…` beside NAME: locked by who works in them.

The lock ends with its process, however that ends: so a folder that nobody holds was left by one that was killed.
"""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgeclf_runtime.file_lock import take_alone

_MARK = ".partial-"


@contextmanager
def partial_folder(destination: Path) -> Iterator[Path]:
    """A new folder beside `destination`, gone after the block. What killed processes left of that name is removed."""
    for left in destination.parent.glob(f".{glob.escape(destination.name)}{_MARK}*"):
        _remove_abandoned(left, left / _lock_name(destination))
    folder, lock = _locked_folder(destination)
    try:
        yield folder
    finally:
        lock.close()  # Windows removes no open files
        shutil.rmtree(folder, ignore_errors=True)


def _lock_name(destination: Path) -> str:
    return f"{destination.name}.lock"


def _locked_folder(destination: Path) -> tuple[Path, IO[Any]]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{destination.name}{_MARK}", dir=destination.parent))
        path = folder / _lock_name(destination)
        try:
            file = path.open("xb")
        except FileNotFoundError:  # another took it for abandoned before it had a lock
            continue
        try:
            take_alone(file)
        except BlockingIOError:  # likewise, before it was locked
            file.close()
            continue
        if path.exists():
            return folder, file
        file.close()


def _remove_abandoned(folder: Path, lock: Path) -> None:
    """A folder without a lock is left alone unless it is empty: an earlier version may still work in it."""
    try:
        with lock.open("r+b") as file:
            if not take_alone(file):
                return
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)  # Windows removes no open files
    except FileNotFoundError:
        with suppress(OSError):
            folder.rmdir()
    except OSError:  # in use, or not ours
        return
