"""TensorRT's compiler prints remarks straight to the process's standard output, where `--json` wants to be alone."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDOUT = 1


@contextmanager
def printed_aside() -> Iterator[list[str]]:
    """A list that holds, after the block, the lines that native code printed meanwhile; none reach the output.

    The whole process is concerned: what other threads print goes the same way.
    """
    lines: list[str] = []
    sys.stdout.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(_STDOUT)
        os.dup2(file.fileno(), _STDOUT)
        try:
            yield lines
        finally:
            ctypes.CDLL(None).fflush(None)  # C's own buffer, before it goes to the real output
            os.dup2(kept, _STDOUT)
            os.close(kept)
            file.seek(0)
            lines += [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
