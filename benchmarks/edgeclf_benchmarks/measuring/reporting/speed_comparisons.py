"""The ratios of a bench: every row against the reference, and the reference against itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.measuring.rounds import Record
from edgeclf_benchmarks.measuring.speed import Comparison, SameAgainstSame, noise_of, ratio_of, speed_of
from edgeclf_benchmarks.measuring.state import BenchState
from edgeclf_benchmarks.measuring.timing import Stage


def same_against_same(state: BenchState) -> Iterator[SameAgainstSame]:
    """The reference against itself, at each stage, batch size and number of threads."""
    for record in state.records:
        for (name, stage), taken in record.taken.items():
            again = record.taken.get((state.reference_again, stage))
            if name != state.reference.name or again is None:
                continue
            found = ratio_of(again.rounds_ms, taken.rounds_ms, seed=state.options.seed)
            if found is not None:
                yield SameAgainstSame(
                    name,
                    stage,
                    record.batch,
                    record.threads,
                    found.value,
                    found.interval,
                    noise_of(found),
                    found.by_round,
                )


def comparisons(state: BenchState, same: Sequence[SameAgainstSame]) -> Iterator[Comparison]:
    """Each other row against the reference, with the reference's A/A noise as the threshold."""
    noises = {(each.stage, each.batch, each.threads): each.floor for each in same}
    for record in state.records:
        yield from _compared(state, record, noises)


def _compared(state: BenchState, record: Record, noises: dict[tuple[Stage, int, int], float]) -> Iterator[Comparison]:
    base_name, rows = state.reference.name, {part.name for part in state.parts}
    for (name, stage), taken in record.taken.items():
        base, noise = record.taken.get((base_name, stage)), noises.get((stage, record.batch, record.threads))
        if name == base_name or name not in rows or base is None or noise is None:
            continue
        found = ratio_of(taken.rounds_ms, base.rounds_ms, seed=state.options.seed)
        if found is not None:
            verdict = speed_of(found.value, found.interval, len(found.by_round), noise)
            where = (stage, record.batch, record.threads)
            yield Comparison(name, base_name, *where, found.value, found.interval, noise, verdict, found.by_round)
