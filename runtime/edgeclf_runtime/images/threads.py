"""Work by threads: on many files, in order and a bounded way ahead (decoding frees Python's lock); and in each once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from edgeclf_runtime.capacity import usable_cores

T = TypeVar("T")
R = TypeVar("R")
_CHUNK, _CHUNKS_AHEAD = 16, 3  # enough that no thread waits while a batch is inferred, and memory stays flat


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """`work(item)` of every item, in order. An error of one of them is raised where its result would be."""
    if len(items) <= _CHUNK:  # one thread's work: to start it would only take time
        yield from map(work, items)
        return
    threads = usable_cores()
    waiting: deque[Future[list[R]]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="edgeclf-data")
    wait = True
    try:
        for start in range(0, len(items), _CHUNK):
            waiting.append(executor.submit(_work_on, work, items[start : start + _CHUNK]))
            if len(waiting) > threads + _CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except GeneratorExit:
        # perhaps of the garbage collector, in a thread that is just being started: it holds a lock of `threading` that
        # joining a thread needs, too (seen to hang)
        wait = False
        raise
    finally:
        executor.shutdown(wait=wait, cancel_futures=True)


def _work_on(work: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    return [work(item) for item in chunk]


def in_each_thread(pool: ThreadPoolExecutor, threads: int, work: Callable[[], T]) -> list[T]:
    """What `work()` returns in each thread of a pool of so many, none of which begins before all are there.

    An engine may keep a compiled network for each thread (OpenVINO's does). Without this, one thread could take all
    the warm-up, and the others would compile while they are timed.
    """
    all_there = Barrier(threads)

    def once(_: int) -> T:
        all_there.wait()
        return work()

    try:
        return list(pool.map(once, range(threads)))
    except BaseException:  # such as a thread that can't be started: the others must not wait for it
        all_there.abort()
        raise
