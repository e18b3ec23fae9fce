"""Contenders timed side by side: rounds in random order, short turns within a round, fresh sessions in some of them.

Turns, not single calls: an engine's threads go on spinning for some milliseconds after a call, and what the others did
is in the caches. Timed call by call on two threads, every engine seemed two to three times slower than it is. So a turn
begins with calls that don't count, and only then are some timed. Turns are still far shorter than a machine drifts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from edgeclf_benchmarks.measuring.contenders import Contender, Opened
from edgeclf_benchmarks.measuring.machine_state import OthersLoad
from edgeclf_benchmarks.measuring.speed import FEWEST_ROUNDS
from edgeclf_benchmarks.measuring.timing import FEWEST_WARM_UP, Call, Stage, WarmUp, call_ms, warm_up
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.progress import SILENT, Progress

MOST_TURNS = 10
_LEAD_MS = 5.0  # by then the spinning threads of other engines have gone to sleep
_DIFFERENT_INPUTS = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """Calls of one turn: those that don't count (and go on till `_LEAD_MS` are over), and those that are timed."""

    lead: int
    timed: int


TURNS: dict[Stage, Turn] = {"infer": Turn(2, 4), "end_to_end": Turn(1, 2), "preprocess": Turn(1, 2)}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: rounds, sessions opened anew in some of them, and the seconds for all, warm-up included."""

    rounds: int
    fresh_rounds: int
    seconds: float
    warm_up_s: float
    seed: int = 0

    def fresh(self, number: int, rounds: int) -> bool:
        """Whether the sessions of that round are new; those of the first are."""
        return number * self.fresh_rounds // rounds != (number - 1) * self.fresh_rounds // rounds


@dataclass(slots=True)
class Taken:
    """The timed calls of one contender and stage, by round. Grows with each call: an interruption loses none."""

    rounds_ms: list[list[float]] = field(default_factory=list)
    started_s: list[list[float]] = field(default_factory=list)
    warmed: WarmUp | None = None
    typical_ms: float = 0.0


@dataclass(slots=True)
class Record:
    """All that one batch size and number of threads gave: (contender, stage) -> what was taken.

    `busy_cores`: what other processes kept busy in each round; empty where the kernel doesn't report it.
    """

    batch: int
    threads: int
    taken: dict[tuple[str, Stage], Taken] = field(default_factory=dict)
    rounds: int = 0
    turns: int = 0
    busy_cores: list[float] = field(default_factory=list)

    @property
    def pairs(self) -> int:
        """Timed calls from pixels to logits, of each contender in a round."""
        return self.turns * TURNS["infer"].timed


def measure_rounds(
    contenders: Sequence[Contender],
    files: Sequence[bytes],
    stages: Sequence[Stage],
    options: SessionOptions,
    plan: Plan,
    record: Record,
    *,
    origin: float,
    progress: Progress = SILENT,
    later_s: float = 0.0,
    yardsticks: Sequence[Contender] = (),
) -> None:
    """Fills `record`. `files` are images as they lie on disk; `origin` is the zero of the trace, perf_counter's.
    `later_s`: how long what comes afterwards will take.

    `yardsticks` take their turns among the contenders, but from input to output alone.
    """
    order, begun = random.Random(plan.seed), time.perf_counter()
    with ExitStack() as stack:
        everyone = (*contenders, *yardsticks)
        ready = {each.name: _Ready.of(each, options, files, record.batch, stack) for each in everyone}
        fixed = {each.name for each in yardsticks}
        for name, each in ready.items():
            for stage in ("infer",) if name in fixed else stages:
                progress.step(f"warm-up of {name}", seconds_left=plan.seconds + later_s)
                taken = record.taken.setdefault((name, stage), Taken())
                taken.warmed, taken.typical_ms = warm_up(each.call(stage, 0), longest_s=plan.warm_up_s / len(stages))
        start = time.perf_counter()
        budget_s = max(plan.seconds / 3, plan.seconds - (start - begun))
        rounds, turns = _fit(record, plan.rounds, budget_s)
        record.turns = turns
        others = OthersLoad()
        for number in range(rounds):
            if number >= FEWEST_ROUNDS and time.perf_counter() - start > 1.2 * budget_s:
                break  # the machine has become slower than it was at the warm-up
            left = (time.perf_counter() - start) / number * (rounds - number) if number else budget_s
            progress.step(f"round {number + 1} of {rounds}", seconds_left=left + later_s)
            names = list(ready)
            order.shuffle(names)
            if number and plan.fresh(number, rounds):
                for name in names:
                    ready[name].reopen()
            if number:
                for name in names:
                    for call in range(FEWEST_WARM_UP):
                        ready[name].call("infer", call)()
            _one_round(ready, names, stages, turns, record, origin)
            record.rounds = number + 1
            if (busy := others.since_last()) is not None:
                record.busy_cores.append(round(busy, 3))


def _one_round(
    ready: dict[str, _Ready], names: Sequence[str], stages: Sequence[Stage], turns: int, record: Record, origin: float
) -> None:
    for stage in stages:
        timed = [name for name in names if (name, stage) in record.taken]
        for name in timed:
            record.taken[name, stage].rounds_ms.append([])
            record.taken[name, stage].started_s.append([])
        for turn in range(turns):
            for name in timed:
                _one_turn(ready[name], stage, turn, record.taken[name, stage], origin)


def _one_turn(ready: _Ready, stage: Stage, turn: int, taken: Taken, origin: float) -> None:
    spent, lead = 0.0, 0
    while lead < TURNS[stage].lead or (stage == "infer" and spent < _LEAD_MS):
        spent += call_ms(ready.call(stage, lead))
        lead += 1
    for number in range(TURNS[stage].timed):
        call = ready.call(stage, turn * TURNS[stage].timed + number)
        begun = time.perf_counter() - origin
        sample = call_ms(call)
        taken.started_s[-1].append(round(begun, 4))
        taken.rounds_ms[-1].append(sample)


def _fit(record: Record, wanted: int, seconds: float) -> tuple[int, int]:
    """(rounds, turns a round) that fit into `seconds`; five rounds of one turn at least."""
    turn_s, warm_s = 0.0, 0.0
    for (_, stage), taken in record.taken.items():
        lead = max(TURNS[stage].lead, _LEAD_MS / max(taken.typical_ms, 1e-6) if stage == "infer" else 0)
        turn_s += (TURNS[stage].timed + lead) * taken.typical_ms / 1000
        if stage == "infer":
            warm_s += FEWEST_WARM_UP * taken.typical_ms / 1000
    if wanted * (warm_s + turn_s) > seconds:
        return min(wanted, max(FEWEST_ROUNDS, int(seconds / (warm_s + turn_s)))), 1
    return wanted, max(1, min(MOST_TURNS, int((seconds / wanted - warm_s) / turn_s)))


class _Ready:
    """An open contender with its inputs. `reopen` gives it a new session; the inputs stay."""

    def __init__(self, contender: Contender, options: SessionOptions, batches: list[list[bytes]]) -> None:
        self._contender, self._options, self._batches = contender, options, batches
        self._opened: Opened = contender.open(options)
        self._inputs: list[Any] = [self._opened.prepare(batch) for batch in batches]

    @classmethod
    def of(
        cls, contender: Contender, options: SessionOptions, files: Sequence[bytes], batch: int, stack: ExitStack
    ) -> _Ready:
        count = max(1, min(len(files), _DIFFERENT_INPUTS // batch))
        batches = [[files[(i * batch + j) % len(files)] for j in range(batch)] for i in range(count)]
        ready = cls(contender, options, batches)
        stack.callback(ready.close)
        return ready

    def call(self, stage: Stage, number: int) -> Call:
        opened, batch = self._opened, self._batches[number % len(self._batches)]
        if stage == "preprocess":
            return lambda: opened.prepare(batch)
        if stage == "end_to_end":
            return lambda: opened.infer(opened.prepare(batch))
        prepared = self._inputs[number % len(self._inputs)]
        return lambda: opened.infer(prepared)

    def reopen(self) -> None:
        self._opened.close()
        self._opened = self._contender.open(self._options)

    def close(self) -> None:
        self._opened.close()
