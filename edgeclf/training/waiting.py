"""The time in which a training waits for images, apart from the time in which it computes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Awaited(Generic[T]):
    """Passes items on, and adds up the seconds that the consumer waits for them."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.waited_s += time.perf_counter() - start


def waiting_share(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of the network's training time spent waiting for images; None where only a head learned, on features."""
    lines = [line for line in history if line["phase"] == "network" and "waiting_s" in line]
    trained_s = sum(line["training_s"] for line in lines)
    return round(sum(line["waiting_s"] for line in lines) / trained_s, 4) if trained_s else None
