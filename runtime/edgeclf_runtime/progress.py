"""How far a long piece of work is: whoever does it reports it, the caller may show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Progress:
    """Receives how far a piece of work is, and shows nothing; what displays it overrides the first four methods."""

    def step(self, what: str, total: int | None = None, *, seconds_left: float | None = None) -> None:
        """The step `what` begins; `total`: its parts, `seconds_left`: about how long it takes; None: unknown."""

    def advance(self, parts: int = 1) -> None:
        """`parts` more parts of the step are done."""

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        """A sentence worth keeping, and for programs the figures that it is made of."""

    def warn(self, sentence: str) -> None:
        """A warning: what limits the result, or could be done better."""

    def track(self, items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
        """`items` as they pass, each of them a part of the step `what`."""
        self.step(what, total)
        for item in items:
            yield item
            self.advance()


SILENT = Progress()
