"""What waits for a few threads: each takes some of it at a time, so that the more waits, the less each item costs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Waiting(Generic[T, R]):
    """Items that the `threads` of `pool` work on, first come, first served; what comes alone is begun at once.

    A thread that is free takes about its share of what waits: 1, 2, 4, … items, `most` at most. `work` gets them
    together, and returns the result of each, or the exception that stands for it. Nothing waits for others to come. An
    item that `is_large` is taken alone, for others would wait for it. Powers of two, since an engine may be compiled
    for each size. Other tasks of the pool get their turn, however much waits here.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        threads: int,
        work: Callable[[list[T]], Iterable[R | Exception]],
        is_large: Callable[[T], bool] = lambda item: False,
    ) -> None:
        self.most = 1
        self._pool = pool
        self._threads = threads
        self._work = work
        self._is_large = is_large
        self._jobs: deque[tuple[T, Future[R]]] = deque()
        self._due = self._busy = 0  # calls of `_take` that the pool has not begun, and that it has
        self._lock = threading.Lock()

    def submit(self, item: T) -> Future[R]:
        """The result, later. A future that is cancelled in time costs nothing."""
        later: Future[R] = Future()
        with self._lock:
            self._jobs.append((item, later))
            self._call()
        return later

    def _call(self) -> None:
        """Lets a thread take more, unless enough of them are about to; under the lock."""
        if self._due < min(self._threads, len(self._jobs)):
            self._pool.submit(self._take)
            self._due += 1

    def _take(self) -> None:
        with self._lock:
            self._due, self._busy = self._due - 1, self._busy + 1
            taken = [self._jobs.popleft() for _ in range(self._share())]
            self._call()
        jobs = [(item, later) for item, later in taken if later.set_running_or_notify_cancel()]
        if jobs:
            self._work_on(jobs)
        with self._lock:
            self._busy -= 1

    def _work_on(self, jobs: list[tuple[T, Future[R]]]) -> None:
        try:
            found = zip(jobs, list(self._work([item for item, _ in jobs])), strict=True)
            for (_, later), each in found:
                if isinstance(each, Exception):
                    later.set_exception(each)
                else:
                    later.set_result(each)
        except BaseException as error:  # of nobody in particular: those who wait must get it
            for _, later in jobs:
                if not later.done():
                    later.set_exception(error)

    def _share(self) -> int:
        """How many of those that wait a thread takes: a third more than its part, as the others still work on theirs.

        But one is left for each thread that is idle.
        """
        waiting, idle = len(self._jobs), self._threads - self._busy
        count, small = min(self.most, waiting, max(1, waiting - idle), -(-4 * waiting // (3 * self._threads))), 0
        while small < count and not self._is_large(self._jobs[small][0]):
            small += 1
        count = max(small, min(1, count))
        return 1 << count.bit_length() - 1 if count else 0
