"""What native code prints while an engine is built stays out of the process's output."""

from __future__ import annotations

import ctypes

import pytest

from edgeclf_runtime.backends.native_output import STDOUT, printed_aside

Captured = pytest.CaptureFixture[str]


def native_print(text: str) -> None:
    """Through C's own buffer, past Python's."""
    ctypes.CDLL(None).puts(text.encode())


def test_native_lines_are_kept_and_pythons_come_through_before_and_after(capfd: Captured) -> None:
    print("before")
    with printed_aside(STDOUT) as lines:
        native_print("a remark")
        native_print("  another  ")
    print("after")
    assert lines == ["a remark", "another"]
    assert capfd.readouterr().out == "before\nafter\n"


def test_the_output_is_back_after_an_error(capfd: Captured) -> None:
    with pytest.raises(ValueError), printed_aside(STDOUT) as lines:
        native_print("a remark")
        raise ValueError
    print("after")
    assert lines == ["a remark"] and capfd.readouterr().out == "after\n"
