"""How far a long piece of work is: whoever does it reports it, the caller may show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Progress:
    """Hears how a piece of work goes, and keeps silent; what shows it overrides the first four."""

    def step(self, what: str, total: int | None = None, *, seconds_left: float | None = None) -> None:
        """`what` is done from now on; in so many parts, and for about so long, where that is known."""

    def advance(self, parts: int = 1) -> None:
        """So many more parts of the step are done."""

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        """A sentence worth keeping, and for programs the figures that it is made of."""

    def warn(self, sentence: str) -> None:
        """What limits the result, or could be done better."""

    def track(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        """`items` as they pass, each of them a part of the step `what`."""
        self.step(what, total)
        for item in items:
            yield item
            self.advance()


SILENT = Progress()
