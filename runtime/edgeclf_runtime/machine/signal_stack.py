"""The stack on which this thread handles signals, kept as it is while a library puts one of its own in its place.

OpenVINO's CPU plugin does (2026.4: intel_cpu/src/sigstack_manager.cpp) and unmaps its stack when it is freed. Freed in
another thread, or before a plugin that came later, it leaves the thread with a stack that is gone: the next signal that
Python handles there, a Ctrl-C or the end of a child process, is a segmentation fault that no handler sees.
docs/upstream-openvino-signal-stack.md has 17 lines that show it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of sigaltstack(2) on Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("bytes", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """This thread has the same stack for signals afterwards; what was put in its place meanwhile may then be freed."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
