"""What waits for threads: what comes alone is begun at once, what waits is taken together, in powers of two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from edgeclf.serving.waiting import Waiting


class Work:
    """Gives back each number doubled, a ValueError for -1, and ends as a whole at -2. Holds 0 until it is released."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, numbers: list[int]) -> Iterator[int | Exception]:
        self.taken.append(numbers)
        if 0 in numbers:
            self.begun.set()
            assert self.go.wait(30)
        for number in numbers:
            if number == -2:
                raise MemoryError("no memory")
            yield ValueError("no image") if number == -1 else 2 * number


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def waiting(work: Work) -> Iterator[Waiting[int, int]]:
    """For one thread, which is held by a first item, 0, until `work.go` is set."""
    with ThreadPoolExecutor(1) as pool:
        made: Waiting[int, int] = Waiting(pool, 1, work, is_large=lambda number: number > 100)
        made.most = 4
        made.submit(0)
        assert work.begun.wait(30)
        yield made
        work.go.set()


def results(later: list[Future[int]]) -> list[int]:
    return [each.result(30) for each in later]


def test_what_comes_alone_is_begun_at_once(work: Work) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting: Waiting[int, int] = Waiting(pool, 1, work)
        waiting.most = 4
        assert [waiting.submit(number).result(30) for number in (1, 2)] == [2, 4]
    assert work.taken == [[1], [2]]


@pytest.mark.parametrize(
    ("most", "taken"), [(1, [[1], [2], [3], [4], [5], [6], [7]]), (4, [[1, 2, 3, 4], [5, 6], [7]])]
)
def test_what_waits_is_taken_in_its_order_at_most_so_many_at_a_time(
    work: Work, waiting: Waiting[int, int], most: int, taken: list[list[int]]
) -> None:
    waiting.most = most
    later = [waiting.submit(number) for number in range(1, 8)]
    work.go.set()
    assert results(later) == [2, 4, 6, 8, 10, 12, 14]
    assert work.taken == [[0], *taken]


def test_several_threads_share_what_waits(work: Work) -> None:
    work.go.set()
    with ThreadPoolExecutor(4) as pool:
        waiting: Waiting[int, int] = Waiting(pool, 4, work)
        waiting.most = 4
        assert results([waiting.submit(number) for number in range(500)]) == [2 * number for number in range(500)]
    assert sorted(number for numbers in work.taken for number in numbers) == list(range(500))


@pytest.mark.parametrize(
    ("waits", "threads", "taken"),
    [(1, 2, 1), (2, 2, 1), (4, 2, 2), (5, 2, 4), (60, 2, 4), (4, 8, 1), (12, 8, 2), (16, 8, 2), (24, 8, 4)],
)
def test_a_thread_leaves_work_for_the_others(waits: int, threads: int, taken: int) -> None:
    work, first = Work(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(first.wait, 30)
        waiting: Waiting[int, int] = Waiting(pool, threads, work)
        waiting.most = 4
        later = [waiting.submit(number) for number in range(1, waits + 1)]
        first.set()
        results(later)
    assert len(work.taken[0]) == taken


def test_an_item_that_is_large_is_taken_alone(work: Work, waiting: Waiting[int, int]) -> None:
    later = [waiting.submit(number) for number in (1, 2, 101, 3, 4)]
    work.go.set()
    results(later)
    assert work.taken == [[0], [1, 2], [101], [3, 4]] or work.taken == [[0], [1, 2], [101], [3], [4]]


def test_other_tasks_get_their_turn_and_nothing_grows_however_much_waits() -> None:
    """Twenty clients each send their next item once they have the result: some always wait."""
    work, end = Work(), threading.Event()
    work.go.set()
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(20) as clients:
        waiting: Waiting[int, int] = Waiting(pool, 2, work)
        waiting.most = 4

        def send(number: int) -> None:
            while not end.is_set():
                waiting.submit(number).result(30)

        sent = [clients.submit(send, number) for number in range(1, 21)]
        try:
            for _ in range(20):
                assert pool.submit(len, "task").result(30) == 4
                assert pool._work_queue.qsize() <= 2 + 1
        finally:
            end.set()
        for each in sent:
            each.result(30)


def test_an_item_that_fails_costs_the_others_nothing(work: Work, waiting: Waiting[int, int]) -> None:
    later = [waiting.submit(number) for number in (1, -1, 2, 3)]
    work.go.set()
    with pytest.raises(ValueError, match="no image"):
        later.pop(1).result(30)
    assert results(later) == [2, 4, 6]


def test_all_that_were_taken_together_get_the_error_that_ends_their_work(
    work: Work, waiting: Waiting[int, int]
) -> None:
    later = [waiting.submit(number) for number in (1, -2, 2, 3, 4)]
    work.go.set()
    for each in later[:4]:
        with pytest.raises(MemoryError):
            each.result(30)
    assert later[4].result(30) == 8


def test_what_is_cancelled_in_time_is_not_worked_on(work: Work, waiting: Waiting[int, int]) -> None:
    later = [waiting.submit(number) for number in (1, 2, 3, 4)]
    assert later[1].cancel()
    work.go.set()
    assert results([later[0], *later[2:]]) == [2, 6, 8]
    assert work.taken == [[0], [1, 3, 4]]
