"""Work on many files by threads, in order and a bounded way ahead: decoding and hashing let go of Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from edgeclf_runtime.capacity import usable_cores

T = TypeVar("T")
R = TypeVar("R")
_CHUNK, _CHUNKS_AHEAD = 16, 3  # enough that no thread waits while a batch is inferred, and memory stays flat


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """`work(item)` of every item, in order. An error of one of them is raised where its result would be."""
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
