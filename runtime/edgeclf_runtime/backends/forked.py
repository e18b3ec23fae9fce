"""Engines in a forked process are its parent's and never freed there: they would wait for threads that only that has.

ONNX Runtime joins them and dies of a segmentation fault (1.32), OpenVINO hangs (2026.4). It happens without a call: the
garbage collector comes by, a name goes out of scope, and at the fork itself Python frees what other threads held.
"""

from __future__ import annotations

import gc
import os
from functools import cache
from typing import Any, TypeVar
from weakref import WeakValueDictionary

Native = TypeVar("Native")

_alive: WeakValueDictionary[int, Any] = WeakValueDictionary()
_held: list[Any] = []  # while a process forks
_of_parents: list[Any] = []  # in a child, for good


def left_to_parent(native: Native) -> Native:
    """`native` itself, an engine or a part of one: a process that is forked while it is alive never frees it."""
    guard_forks()
    _alive[id(native)] = native
    return native


@cache
def guard_forks() -> None:
    """From now on in this process. Of engines that nobody gave to `left_to_parent` a child leaves garbage alone."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=_before, after_in_parent=_held.clear, after_in_child=_after_in_child)


def _before() -> None:
    """In the parent, since Python frees what other threads held before any code of the child runs."""
    _held.extend(reference() for reference in _alive.valuerefs())


def _after_in_child() -> None:
    gc.freeze()  # the collector passes over whatever the parent had made
    _of_parents.extend(_held)
