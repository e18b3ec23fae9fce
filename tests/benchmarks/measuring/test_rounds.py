"""Rounds: the order of calls, how often a session is new, what an interruption leaves. The clock is the test's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring import rounds, timing
from edgeclf_benchmarks.measuring.contenders import Opened
from edgeclf_benchmarks.measuring.rounds import MOST_TURNS, TURNS, Plan, Record, measure_rounds
from edgeclf_benchmarks.measuring.speed import FEWEST_ROUNDS
from edgeclf_benchmarks.measuring.timing import FEWEST_WARM_UP, summarise, warm_up
from edgeclf_runtime.backends.engine import SessionOptions

PLAN = Plan(rounds=10, fresh_rounds=5, seconds=60, warm_up_s=1)


class Clock:
    """Moves only when a contender works."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def perf_counter_ns(self) -> int:
        return round(self.seconds * 1e9)


@dataclass
class Fake:
    """Takes `ms` a call; notes what happens in `log`."""

    name: str
    ms: float
    clock: Clock
    log: list[str] = field(default_factory=list)
    largest_batch: int | None = None
    stop_after: int = 10**9

    def open(self, options: SessionOptions) -> Opened:
        self.log.append(f"open {self.name}")

        def infer(batch: Any) -> NDArray[np.floating]:
            self.log.append(self.name)
            if len(self.log) > self.stop_after:
                raise KeyboardInterrupt
            self.clock.seconds += self.ms / 1000
            return np.zeros((1, 2))

        def prepare(files: Sequence[bytes]) -> NDArray[np.uint8]:
            self.clock.seconds += 1e-3
            return np.zeros((len(files), 1), dtype=np.uint8)

        return Opened(prepare, infer, lambda: self.log.append(f"close {self.name}"), "fp32", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rounds, "time", made)
    monkeypatch.setattr(timing, "time", made)
    return made


def run(contenders: Sequence[Fake], plan: Plan = PLAN, record: Record | None = None) -> Record:
    record = record or Record(1, 1)
    options = SessionOptions(threads=1)
    stages: Sequence[timing.Stage] = ("infer", "end_to_end", "preprocess")
    measure_rounds(contenders, [b"a", b"b"], stages, options, plan, record, origin=0.0)
    return record


def pair(clock: Clock, ms: float = 20.0) -> tuple[Fake, Fake, list[str]]:
    log: list[str] = []
    return Fake("a", ms, clock, log), Fake("b", 2 * ms, clock, log), log


def test_every_contender_is_timed_equally_often_in_every_round_with_its_own_times(clock: Clock) -> None:
    record = run(pair(clock)[:2])
    for name, ms in (("a", 20.0), ("b", 40.0)):
        taken = record.taken[name, "infer"]
        assert len(taken.rounds_ms) == PLAN.rounds
        assert {len(each) for each in taken.rounds_ms} == {record.pairs}
        assert {round(sample, 3) for each in taken.rounds_ms for sample in each} == {ms}
        assert {round(sample, 3) for each in record.taken[name, "end_to_end"].rounds_ms for sample in each} == {ms + 1}
        assert {round(sample, 3) for each in record.taken[name, "preprocess"].rounds_ms for sample in each} == {1.0}
        starts = [start for each in taken.started_s for start in each]
        assert starts == sorted(starts)


def test_yardsticks_take_their_turns_in_every_round_but_decode_nothing(clock: Clock) -> None:
    a, b, log = pair(clock)
    record, stages = Record(1, 1), ("infer", "end_to_end", "preprocess")
    measure_rounds(
        [a],
        [b"x"],
        stages,  # type: ignore[arg-type]
        SessionOptions(threads=1),
        PLAN,
        record,
        origin=0.0,
        yardsticks=[b],
    )
    assert {key for key in record.taken if key[0] == "b"} == {("b", "infer")}
    timed = record.taken["b", "infer"].rounds_ms
    assert list(map(len, timed)) == list(map(len, record.taken["a", "infer"].rounds_ms))
    assert {round(sample, 3) for each in timed for sample in each} == {40.0}
    assert log.count("open b") == PLAN.fresh_rounds


def test_the_load_of_other_processes_is_recorded_round_by_round(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([0.5, 2.0, *[1.0] * 8])
    monkeypatch.setattr(rounds.OthersLoad, "since_last", lambda self: next(busy))
    assert run(pair(clock)[:2]).busy_cores == [0.5, 2.0, *[1.0] * 8]


def test_sessions_are_opened_anew_in_as_many_rounds_as_planned_and_all_are_closed(clock: Clock) -> None:
    a, b, log = pair(clock)
    run((a, b))
    assert log.count("open a") == log.count("open b") == PLAN.fresh_rounds
    assert log.count("close a") == log.count("close b") == PLAN.fresh_rounds


def test_each_turn_begins_with_calls_that_do_not_count(clock: Clock) -> None:
    a, b, log = pair(clock)
    record = run((a, b))
    infer, whole = TURNS["infer"], TURNS["end_to_end"]
    each_turn = infer.lead + infer.timed + whole.lead + whole.timed
    warm = sum(
        taken.warmed.calls
        for (name, stage), taken in record.taken.items()
        if taken.warmed and name == "a" and stage != "preprocess"
    )
    calls = warm + (PLAN.rounds - 1) * FEWEST_WARM_UP + PLAN.rounds * record.turns * each_turn
    assert log.count("a") == calls


def test_the_order_of_contenders_changes_from_round_to_round_and_follows_the_seed(clock: Clock) -> None:
    orders = []
    for _ in range(2):
        a, b, log = pair(clock)
        run((a, b), Plan(10, 10, 60, 1, seed=3))
        orders.append([entry for entry in log if entry.startswith("open")][2:])
    assert orders[0] == orders[1]
    firsts = {orders[0][i] for i in range(0, len(orders[0]), 2)}
    assert firsts == {"open a", "open b"}


def test_fast_contenders_get_more_turns_and_slow_ones_fewer_rounds_but_never_under_five(clock: Clock) -> None:
    assert run(pair(clock, 0.5)[:2]).turns == MOST_TURNS
    slow = run(pair(clock, 3000.0)[:2])
    assert (slow.rounds, slow.turns) == (FEWEST_ROUNDS, 1)


def test_an_interruption_leaves_what_was_timed_and_closes_the_sessions(clock: Clock) -> None:
    a, b, log = pair(clock)
    a.stop_after = b.stop_after = 200
    record = Record(1, 1)
    with pytest.raises(KeyboardInterrupt):
        run((a, b), record=record)
    assert sum(map(len, record.taken["a", "infer"].rounds_ms)) > 0
    assert log[-2:] == ["close b", "close a"]


def test_warm_up_ends_when_two_windows_agree(clock: Clock) -> None:
    times = iter([100, 80, 60, 40, 30, 25, 22, 21, 20.5, 20.2, *[20] * 50])

    def call() -> None:
        clock.seconds += next(times) / 1000

    warmed, typical_ms = warm_up(call)
    assert warmed.settled and typical_ms == pytest.approx(20)
    assert FEWEST_WARM_UP < warmed.calls <= 20


def test_warm_up_that_never_settles_ends_and_is_marked_as_not_settled(clock: Clock) -> None:
    noise = random.Random(0)

    def call() -> None:
        clock.seconds += noise.choice([0.01, 0.1, 1.0])

    warmed, _ = warm_up(lambda: [call() for _ in range(1)], longest_s=1.0)
    assert warmed.calls >= FEWEST_WARM_UP
    assert warmed.settled is False or warmed.seconds <= 20


def test_a_latency_keeps_every_sample_and_detects_a_slowdown() -> None:
    steady = summarise("infer", 1, 1, [[1.0] * 40, [1.0] * 40], [[0.0] * 40] * 2, None)
    assert (steady.samples, steady.p90_ms, steady.p95_ms, steady.slowed) == (80, 1.0, None, False)
    slowing = summarise("infer", 1, 1, [[1.0] * 40, [1.0] * 20 + [1.2] * 20], [[0.0] * 40] * 2, None)
    assert slowing.slowed and slowing.drift == pytest.approx(1.2)
    spiked = summarise("infer", 1, 1, [[1.0, 1.1] * 20, [1.0, 1.1] * 19 + [1.0, 9.0]], [[0.0] * 40] * 2, None)
    assert (spiked.outliers, spiked.max_ms, spiked.samples) == (1, 9.0, 80)
