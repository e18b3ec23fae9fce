"""Progress of work on many files, as a function that does such work reports it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

R = TypeVar("R")


class Track(Protocol):
    """Passes items on while it shows progress, as `edgeclf.console.track` does."""

    def __call__(self, items: Iterable[R], total: int | None, what: str) -> Iterable[R]: ...


def untracked(items: Iterable[R], total: int | None, what: str) -> Iterable[R]:
    """Progress that nobody sees."""
    return items
