"""What a service takes on: sizes, times, and how many requests and bytes it holds at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgeclf_runtime.errors import UsageError

_BODIES = 16  # bodies of the largest size that may lie in memory at once, whatever the number of connections
_RETRY_AFTER_S = 1
_NEXT_REQUEST_S = 0.1  # within which a client sends its next one


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """What one request may cost, and all of them together.

    Attributes
    ----------
    max_batch
        Images that go through the engine at once, and so the most that one request may hold.
    max_delay_s
        How long the first image of a batch waits for those of other requests that are under way.
    max_queue
        Requests that are read and have no response yet; the next one gets 503.
    max_megabytes, max_megapixels
        Of one body, and of the image in it.
    timeout_s
        For a request's headers, for its body, for its response, and for a client to go on reading: each.
    max_connections
        Open connections; the next one gets 503.
    """

    max_batch: int = 8
    max_delay_s: float = 0.002
    max_queue: int = 128
    max_megabytes: float = 16.0
    max_megapixels: float = 64.0
    timeout_s: float = 30.0
    max_connections: int = 512

    def __post_init__(self) -> None:
        counts = {"batch": self.max_batch, "queue": self.max_queue, "number of connections": self.max_connections}
        sizes = {"body": self.max_megabytes, "image": self.max_megapixels, "time": self.timeout_s}
        for what, limit in (counts | sizes).items():
            if not 0 < limit < float("inf"):
                raise UsageError(f"the largest {what} must be above 0 and finite, found {limit:g}")
        if not 0 <= self.max_delay_s <= 10:
            raise UsageError(f"a delay is 0 to 10 seconds, found {self.max_delay_s:g}")

    @property
    def body_bytes(self) -> int:
        return int(self.max_megabytes * 1e6)


class Refused(Exception):
    """A request that is refused: the HTTP status, and what was wanted, found and is to do.

    `closes`: the connection ends with it, since the rest of the request will not be read.
    """

    def __init__(self, status: int, message: str, *, closes: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.closes = closes

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(_RETRY_AFTER_S)} if self.status == 503 else {}
        return headers | ({"Connection": "close"} if self.closes else {})


class Room:
    """How many requests and bytes of bodies are held now. For one event loop: it has no lock."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self.requests = 0
        self.bytes = 0
        self._shared_s = -math.inf  # when several requests were held last
        self._maps = 0

    @contextmanager
    def map(self) -> Iterator[Callable[[], None]]:
        """The one place for a map, which costs seconds: a function that raises Refused once nobody waits for it.

        Raises Refused where it is taken.
        """
        if self._maps:
            raise Refused(503, "another map is being made; try again")
        self._maps += 1
        ended = False

        def go_on() -> None:
            if ended:
                raise Refused(504, "nobody waits for the map any more")

        try:
            yield go_on
        finally:
            ended = True
            self._maps -= 1

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """A function that reserves bytes until the context ends, or raises Refused: then the body holds none."""
        held = 0

        def take(count: int) -> None:
            nonlocal held
            held += count
            self.bytes += count
            refused = None
            if held > self._limits.body_bytes:
                limit = f"{self._limits.max_megabytes:g} MB (--max-megabytes)"
                refused = Refused(413, f"wanted a body of at most {limit}, found more", closes=True)
            elif self.bytes > _BODIES * self._limits.body_bytes:
                refused = Refused(503, "too many bytes of other requests are in memory; try again", closes=True)
            if refused is not None:
                self.bytes -= held
                held = 0
                raise refused

        try:
            yield take
        finally:
            self.bytes -= held

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for requests that wait for their response. Raises Refused where all are taken."""
        if self.requests >= self._limits.max_queue:
            raise Refused(
                503, f"{self.requests} requests wait already; try again (--max-queue {self._limits.max_queue})"
            )
        self.requests += 1
        self._note_sharing()
        try:
            yield
        finally:
            self._note_sharing()
            self.requests -= 1

    def is_shared(self) -> bool:
        """Whether several clients send requests: of two, one often holds none, while it reads its response."""
        return self.requests > 1 or time.monotonic() - self._shared_s < _NEXT_REQUEST_S

    def _note_sharing(self) -> None:
        if self.requests > 1:
            self._shared_s = time.monotonic()
