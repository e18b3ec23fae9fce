"""A file that one at a time may hold, by what the system offers: POSIX locks or those of Windows.

A lock ends with its file, and with the process, however that ends. Where there is neither kind nothing is locked: two
trainings in one folder then meet only at the files that they write.
"""

from __future__ import annotations

import os
import sys
import time
from typing import IO, Any

_FAR_BEYOND = 2**31 - 2  # Windows keeps others from reading what is locked: a byte that no file has
_AGAIN_AFTER_S = 0.05


def take(file: IO[Any]) -> None:
    """Locks an open file for this process, not for children that it forks. Raises OSError where another has it."""
    if sys.platform == "win32":
        _lock_on_windows(file.fileno())
        return
    try:
        import fcntl
    except ImportError:  # WebAssembly, for one
        return
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def take_alone(file: IO[Any]) -> bool:
    """As `take`, against threads of this process, too. Raises BlockingIOError where another has it.

    False: nothing can be locked here, neither by this process nor by another.
    """
    if sys.platform == "win32":
        try:
            _lock_on_windows(file.fileno())
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from error
        return True
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (OSError, ImportError):  # some network file systems; WebAssembly
        return False
    return True


def wait_for(file: IO[Any]) -> None:
    """Locks an open file against all who open it, threads of this process among them, once nobody else has it."""
    if sys.platform == "win32":
        while True:
            try:
                _lock_on_windows(file.fileno())
                return
            except OSError:
                time.sleep(_AGAIN_AFTER_S)
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX)


def _lock_on_windows(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        here = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            os.lseek(descriptor, _FAR_BEYOND, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, here, os.SEEK_SET)
