"""A library may bring a stack for signals; the thread keeps its own."""

from __future__ import annotations

import ctypes
import sys
from mmap import mmap

import pytest

from edgeclf_runtime.machine.signal_stack import _Stack, signal_stack_kept

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing to keep")


def current() -> tuple[int | None, int, int]:
    found = _Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.start, found.flags, found.bytes


def test_the_stack_is_the_same_again_also_after_an_error() -> None:
    before, memory = current(), mmap(-1, 1 << 17)
    other = _Stack(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 0, len(memory))
    with pytest.raises(ValueError, match="seen"), signal_stack_kept():
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None) == 0
        assert current() == (other.start, 0, len(memory)) != before
        raise ValueError("seen")
    assert current() == before
