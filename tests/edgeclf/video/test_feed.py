"""The hand-over between a reader and the classifier: nothing lost in a queue, nothing old among the newest."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgeclf.video.feed import Feed


def double(number: int) -> int:
    return 2 * number


def test_a_queue_gives_every_item_in_order() -> None:
    feed = Feed(iter(range(500)), double, newest=False)
    assert list(feed) == [2 * number for number in range(500)]
    assert feed.dropped == 0 and feed.stop()


def test_a_reader_that_is_ahead_waits() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    feed = Feed(items(), double, newest=False)
    taken = iter(feed)
    assert [next(taken) for _ in range(3)] == [0, 2, 4]
    assert feed.stop()
    assert len(read) < 20


def test_the_newest_wins_and_the_others_are_counted() -> None:
    go = threading.Event()
    read_all = threading.Event()
    converted: list[int] = []

    def items() -> Iterator[int]:
        yield 0
        go.wait()
        yield from range(1, 10)
        read_all.set()

    def convert(number: int) -> int:
        converted.append(number)
        return number

    feed = Feed(items(), convert, newest=True)
    taken = iter(feed)
    assert next(taken) == 0
    go.set()
    read_all.wait()
    assert list(taken) == [9]
    assert (feed.dropped, converted) == (8, [0, 9])


@pytest.mark.parametrize("newest", [False, True])
def test_what_the_reader_raises_comes_after_the_items_before_it(newest: bool) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("camera gone")

    taken = iter(Feed(items(), double, newest=newest))
    assert next(taken) == 2
    with pytest.raises(OSError, match="camera gone"):
        next(taken)


def test_a_taker_that_leaves_is_not_held_by_a_stuck_reader() -> None:
    stuck = threading.Event()

    def items() -> Iterator[int]:
        stuck.wait()
        yield 1

    feed = Feed(items(), double, newest=True)
    assert not feed.stop()
    stuck.set()
