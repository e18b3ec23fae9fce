"""Dynamic batching: each job gets its own rows, batches are bounded, faults reach those who wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf.serving.batcher import Batcher
from edgeclf_runtime.errors import BackendError

Array = NDArray[np.generic]


class Engine:
    """Gives its input times 2 as floats. Holds the first batch until it is released."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, batch: Array) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        self.begun.set()
        assert self.go.wait(30)
        return batch.astype(np.float32) * 2


Infer = Callable[[Array], NDArray[np.float32]]
Make = Callable[..., Batcher]


def batcher_of(engine: Infer, max_batch: int, max_delay_s: float, expected: int) -> Batcher:
    return Batcher(
        engine,
        max_batch=max_batch,
        max_delay_s=max_delay_s,
        expected=lambda: expected,
        observe=lambda images, seconds: None,
    )


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher] = []

    def build(engine: Infer, max_batch: int = 4, max_delay_s: float = 0.0, expected: int = 100) -> Batcher:
        made.append(batcher_of(engine, max_batch, max_delay_s, expected))
        return made[-1]

    yield build
    for each in made:
        each.close()


def rows(*values: int) -> Array:
    return np.array(values, dtype=np.int32)[:, np.newaxis]


def results(futures: list[Future[NDArray[np.float32]]]) -> list[list[float]]:
    return [future.result(30).ravel().tolist() for future in futures]


def test_what_waits_while_the_engine_works_goes_together_and_in_order(make: Make) -> None:
    engine = Engine()
    batcher = make(engine)
    futures = [batcher.submit(rows(0))]
    assert engine.begun.wait(30)
    futures += [batcher.submit(rows(number)) for number in range(1, 10)]
    engine.go.set()
    assert results(futures) == [[2.0 * number] for number in range(10)]
    assert engine.batches == [1, 4, 4, 1]


def test_a_request_is_never_split(make: Make) -> None:
    engine = Engine()
    batcher = make(engine)
    futures = [batcher.submit(rows(0))]
    assert engine.begun.wait(30)
    futures += [batcher.submit(rows(1, 2, 3)), batcher.submit(rows(4, 5)), batcher.submit(rows(6, 7))]
    engine.go.set()
    assert results(futures) == [[0], [2, 4, 6], [8, 10], [12, 14]]
    assert engine.batches == [1, 3, 4]


def test_other_shapes_go_apart(make: Make) -> None:
    engine = Engine()
    batcher = make(engine)
    first = batcher.submit(rows(0))
    assert engine.begun.wait(30)
    narrow, wide = batcher.submit(rows(1)), batcher.submit(np.ones((1, 2), dtype=np.int32))
    engine.go.set()
    assert [found.result(30).shape for found in (first, narrow, wide)] == [(1, 1), (1, 1), (1, 2)]
    assert engine.batches == [1, 1, 1]


def test_the_first_waits_for_others_only_so_long(make: Make) -> None:
    engine = Engine()
    engine.go.set()
    assert results([make(engine, max_delay_s=0.05).submit(rows(1))]) == [[2.0]]
    full = make(engine, max_batch=2, max_delay_s=10.0)
    assert results([full.submit(rows(1)), full.submit(rows(2))]) == [[2.0], [4.0]]  # full: the delay is cut short
    assert engine.batches == [1, 2]


def test_nobody_waits_where_no_other_request_is_under_way(make: Make) -> None:
    engine = Engine()
    engine.go.set()
    result_later = make(engine, max_delay_s=10.0, expected=1).submit(rows(1))
    assert result_later.result(timeout=8).tolist() == [[2.0]]


def test_a_fault_reaches_its_batch_and_the_next_one_is_predicted(make: Make) -> None:
    def engine(batch: Array) -> NDArray[np.float32]:
        if batch[0, 0] == 13:
            raise RuntimeError("no luck")
        return batch.astype(np.float32)

    batcher = make(engine)
    with pytest.raises(BackendError, match="the engine failed: RuntimeError: no luck"):
        batcher.submit(rows(13)).result(30)
    assert results([batcher.submit(rows(1))]) == [[1.0]]


def test_what_is_cancelled_in_time_costs_nothing(make: Make) -> None:
    engine = Engine()
    batcher = make(engine)
    first = batcher.submit(rows(0))
    assert engine.begun.wait(30)
    unwanted, wanted = batcher.submit(rows(1)), batcher.submit(rows(2))
    assert unwanted.cancel()
    engine.go.set()
    assert results([first, wanted]) == [[0.0], [4.0]]
    assert engine.batches == [1, 1]


def test_closing_finishes_what_was_submitted() -> None:
    engine = Engine()
    batcher = batcher_of(engine, 2, 0.0, 100)
    futures = [batcher.submit(rows(number)) for number in range(5)]
    engine.go.set()
    batcher.close()
    assert results(futures) == [[2.0 * number] for number in range(5)]
