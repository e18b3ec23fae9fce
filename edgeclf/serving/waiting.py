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
    """Items that the threads of `pool` work on, first come, first served; what comes alone is begun at once.

    A thread that is free takes 1, 2, 4, … of those that wait, `most` at most: `work` gets them together, and returns
    the result of each, or the exception that stands for it. Nothing waits for others to come. Powers of two, since an
    engine may be compiled for each size.
    """

    def __init__(self, pool: ThreadPoolExecutor, work: Callable[[list[T]], Iterable[R | Exception]]) -> None:
        self.most = 1
        self._pool = pool
        self._work = work
        self._jobs: deque[tuple[T, Future[R]]] = deque()
        self._taking = threading.Lock()

    def submit(self, item: T) -> Future[R]:
        """The result, later. A future that is cancelled in time costs nothing."""
        later: Future[R] = Future()
        self._jobs.append((item, later))
        self._pool.submit(self._take)  # one for each item, so that none is left; those that find nothing end at once
        return later

    def _take(self) -> None:
        with self._taking:
            count = min(len(self._jobs), self.most)
            count = 1 << count.bit_length() - 1 if count else 0
            taken = [self._jobs.popleft() for _ in range(count)]
        jobs = [(item, later) for item, later in taken if later.set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            found = list(self._work([item for item, _ in jobs]))
        except BaseException as error:  # of nobody in particular: those who wait must get it
            for _, later in jobs:
                later.set_exception(error)
            return
        for (_, later), each in zip(jobs, found, strict=True):
            if isinstance(each, Exception):
                later.set_exception(each)
            else:
                later.set_result(each)
