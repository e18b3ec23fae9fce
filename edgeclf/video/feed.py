"""From the reader to the classifier: frames are read in a thread, and queued or dropped for newer ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")
_QUEUED = 8  # at most in memory; a reader that is ahead waits, and with it the source
_LEAVE_AFTER_S = 1.0


class Feed(Generic[T, U]):
    """What a thread reads from `items`, for one taker.

    With `newest` an item that nobody took in time is dropped for the next (`dropped` counts them), and `convert` is
    called only for those that are taken. Without, each item waits for its turn, converted by the reader.
    """

    def __init__(self, items: Iterator[T], convert: Callable[[T], U], *, newest: bool) -> None:
        self.dropped = 0
        self._items = items
        self._convert = convert
        self._newest = newest
        self._waiting: deque[Callable[[], U]] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="edgeclf-stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[U]:
        """The items to the end; then what the reader raised is raised here."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                load = self._waiting.popleft()
                self._changed.notify_all()
            yield load()
        if self._fault is not None:
            raise self._fault

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(self._later(item)):
                    break
        except BaseException as fault:  # it is raised for the taker: nobody would see it in the thread
            self._fault = fault
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _later(self, item: T) -> Callable[[], U]:
        if self._newest:
            return lambda: self._convert(item)
        converted = self._convert(item)
        return lambda: converted

    def _put(self, load: Callable[[], U]) -> bool:
        """Whether anybody still wants items."""
        with self._changed:
            if self._newest:
                self.dropped += len(self._waiting)
                self._waiting.clear()
            else:
                self._changed.wait_for(lambda: len(self._waiting) < _QUEUED or self._stopped)
            self._waiting.append(load)
            self._changed.notify_all()
            return not self._stopped

    def stop(self) -> bool:
        """Ends the reading; False where the reader is still stuck in its source, which then must not be closed."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(_LEAVE_AFTER_S)
        return not self._thread.is_alive()
