"""How much may be decoded at the same time by all threads: large images then wait for each other, small ones never."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from edgeclf_runtime.capacity import memory_bytes, usable_cores

_LEAST_BYTES = 1_000_000_000
_BYTES_A_CORE = 64_000_000  # a photograph of 12 megapixels, as pixels
_SHARE_OF_MEMORY = 4

Reserve = Callable[[int], None]


class MemoryBudget:
    """A number of bytes that threads share. What alone is larger than all of it waits until it is alone."""

    def __init__(self, total_bytes: int | None = None) -> None:
        self.total_bytes = total_bytes or _default_bytes()
        self.forget()

    def forget(self) -> None:
        """Nothing is taken: so a forked process begins, which has none of the threads that would give back."""
        self._taken = 0
        self._freed = threading.Condition()

    def share(self) -> Share:
        """For a `with` statement: a function that reserves bytes, and waits for them, once; freed at its end."""
        return Share(self)

    def take(self, wanted: int) -> None:
        """Waits for so many bytes."""
        with self._freed:
            self._freed.wait_for(lambda: not self._taken or self._taken + wanted <= self.total_bytes)
            self._taken += wanted

    def give_back(self, taken: int) -> None:
        with self._freed:
            self._taken -= taken
            self._freed.notify_all()


class Share:
    """What one image takes of a budget. No generator: an image that needs no decoding spends nothing here."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._taken: int | None = None

    def __enter__(self) -> Reserve:
        return self._reserve

    def _reserve(self, wanted: int) -> None:
        if self._taken is None:  # a second take might wait for itself
            self._budget.take(wanted)
            self._taken = wanted

    def __exit__(self, *_: object) -> None:
        if self._taken is not None:
            self._budget.give_back(self._taken)


def _default_bytes() -> int:
    """1 GB, more on many cores, and at most a quarter of the machine's memory, where the system reports it."""
    wanted = max(_LEAST_BYTES, _BYTES_A_CORE * usable_cores())
    memory = memory_bytes()
    return wanted if memory is None else min(wanted, memory // _SHARE_OF_MEMORY)


BUDGET = MemoryBudget()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BUDGET.forget)
