"""Native code prints remarks straight to stdout, where `--json` wants to be alone, and to stderr: kept aside here."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2


@contextmanager
def printed_aside(*streams: int) -> Iterator[list[str]]:
    """A list that holds, after the block, the lines that native code printed to `streams` meanwhile; none reach them.

    The whole process is concerned: what other threads print goes the same way.
    """
    lines: list[str] = []
    for output in (sys.stdout, sys.stderr):
        if output is not None:  # of a process without a console
            output.flush()
    with tempfile.TemporaryFile() as file:
        kept = {stream: os.dup(stream) for stream in streams if _is_open(stream)}
        for stream in kept:
            os.dup2(file.fileno(), stream)
        try:
            yield lines
        finally:
            ctypes.CDLL(None).fflush(None)  # C's own buffer, before it goes to the real output
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)
            file.seek(0)
            lines += [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True
