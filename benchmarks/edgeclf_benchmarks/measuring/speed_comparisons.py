"""The ratios of a bench: every row against the reference, and the reference against itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.measuring.rounds import Record
from edgeclf_benchmarks.measuring.speed import Comparison, SameAgainstSame, floor_of, ratio_of, speed_of
from edgeclf_benchmarks.measuring.state import Draft
from edgeclf_benchmarks.measuring.timing import Stage


def same_against_same(draft: Draft) -> Iterator[SameAgainstSame]:
    """The reference against itself, at each stage, batch size and number of threads."""
    for record in draft.records:
        for (name, stage), taken in record.taken.items():
            again = record.taken.get((draft.same, stage))
            if name != draft.reference.name or again is None:
                continue
            found = ratio_of(again.rounds_ms, taken.rounds_ms, seed=draft.options.seed)
            if found is not None:
                yield SameAgainstSame(
                    name,
                    stage,
                    record.batch,
                    record.threads,
                    found.value,
                    found.interval,
                    floor_of(found),
                    found.by_round,
                )


def comparisons(draft: Draft, same: Sequence[SameAgainstSame]) -> Iterator[Comparison]:
    """Each other row against the reference, judged by what the reference shows against itself."""
    floors = {(each.stage, each.batch, each.threads): each.floor for each in same}
    for record in draft.records:
        yield from _compared(draft, record, floors)


def _compared(draft: Draft, record: Record, floors: dict[tuple[Stage, int, int], float]) -> Iterator[Comparison]:
    base_name, rows = draft.reference.name, {part.name for part in draft.parts}
    for (name, stage), taken in record.taken.items():
        base, floor = record.taken.get((base_name, stage)), floors.get((stage, record.batch, record.threads))
        if name == base_name or name not in rows or base is None or floor is None:
            continue
        found = ratio_of(taken.rounds_ms, base.rounds_ms, seed=draft.options.seed)
        if found is not None:
            verdict = speed_of(found.value, found.interval, len(found.by_round), floor)
            where = (stage, record.batch, record.threads)
            yield Comparison(name, base_name, *where, found.value, found.interval, floor, verdict, found.by_round)
