"""What this process may use of its machine, cores and memory, on any system; other files call this, not the kernel."""

from __future__ import annotations

import ctypes
import os
import sys


def usable_cores() -> int:
    """Cores that this process may run on; where the system binds no process to cores (macOS, Windows), all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """The machine's memory; None: the system doesn't report it."""
    if sys.platform == "win32":
        return _windows_memory_bytes()
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return found if found > 0 else None


def _windows_memory_bytes() -> int | None:
    """MEMORYSTATUSEX.ullTotalPhys: https://learn.microsoft.com/windows/win32/api/sysinfoapi/ns-sysinfoapi-memorystatusex."""
    status = (ctypes.c_uint64 * 8)()  # two 32-bit numbers, length and load, then seven of 64 bits
    ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (no such name elsewhere, for type checkers either)
    return int(status[1]) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
