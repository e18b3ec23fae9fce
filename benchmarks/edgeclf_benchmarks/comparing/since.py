"""What changed since the baseline, row by row; what can't be compared, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.comparing.changes import flips, top1_drop
from edgeclf_benchmarks.comparing.columns import NONE, milliseconds
from edgeclf_benchmarks.comparing.compare import Compared, Entry, Finding, Source, entries_of
from edgeclf_benchmarks.comparing.latency_change import LatencyChange, Times, latency_change, same_hardware
from edgeclf_benchmarks.comparing.tables import Table
from edgeclf_benchmarks.statistics.intervals import Interval

_CLOCK, _YARDSTICK = "now ÷ before [95 %]", "by the yardstick [95 %]"


def since_baseline(compared: Compared) -> Table | None:
    """Each row beside the baseline's row of the same name; None without a baseline."""
    if compared.baseline is None:
        return None
    entries, older = entries_of(compared.sources), entries_of((compared.baseline,))
    before = {entry.row.name: entry for entry in older}
    known = [(number, entry) for number, entry in enumerate(entries, 1) if entry.row.name in before]
    pairs = [(number, entry, before[entry.row.name]) for number, entry in known]
    here = [each for each in pairs if same_hardware(each[1].report.machine, each[2].report.machine)]
    pairs = here or pairs  # answers may be compared between machines, latencies not
    return Table(
        f"Each row and the row of that name in {compared.baseline.file}",
        ("row", "p50 before", "p50 now", _CLOCK, _YARDSTICK, "latency", "Δtop-1 [95 %]", "flips"),
        tuple((entry.name, *_cells(entry, old)) for _, entry, old in pairs),
        words=("latency",),
        marks=tuple(number for number, _, _ in pairs),
    )


def _cells(entry: Entry, old: Entry) -> Iterator[str]:
    here = same_hardware(entry.report.machine, old.report.machine)
    mine, other = entry.latency(), old.latency()
    yield milliseconds(other.p50_ms if here and other is not None else None)
    yield milliseconds(None if mine is None else mine.p50_ms)
    change = latency_change(entry, old) if here else None
    yield NONE if change is None else _times(change.clock)
    yield NONE if change is None or change.proportion is None else _times(change.proportion)
    yield _speed(change) if here else "another machine"
    drop = top1_drop(entry, old)
    yield NONE if drop is None else f"{0 - drop.value:+.2f} points{_of_change(drop.interval)}"
    flipped = flips(entry, old)
    yield NONE if flipped is None else f"{flipped.value:.0f}"


def _times(found: Times) -> str:
    interval = found.interval
    return f"{found.value:.3f}" + ("" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]")


def _of_change(interval: Interval | None) -> str:
    """The interval of a loss as that of a change, in brackets."""
    return "" if interval is None else f" [{0 - interval.high:+.2f}, {0 - interval.low:+.2f}]"


def _speed(change: LatencyChange | None) -> str:
    return NONE if change is None or change.clock.interval is None else change.speed


def incomparable(entries: Sequence[Entry], baseline: Source | None) -> Iterator[Finding]:
    """Why latencies can't be compared with the baseline's, each reason once."""
    if baseline is None:
        return
    older = {entry.row.name: entry for entry in entries_of((baseline,))}
    changes = [latency_change(entry, older[entry.row.name]) for entry in entries if entry.row.name in older]
    for why in dict.fromkeys(each.incomparable for each in changes if each is not None and each.incomparable):
        yield Finding("note", f"Latency can't be compared with {baseline.file}: {why}.")


def unpaired(entries: Sequence[Entry], baseline: Source | None) -> Iterator[Finding]:
    """Rows that came or went since the baseline: nothing can be said of how they changed."""
    if baseline is None:
        return
    now, before = {entry.row.name for entry in entries}, [row.name for row in baseline.report.rows]
    if gone := [name for name in before if name not in now]:
        yield Finding("note", f"Only in the baseline {baseline.file}, so not measured again: {', '.join(gone)}.")
    if new := sorted(now - set(before)):
        yield Finding("note", f"Not in the baseline {baseline.file}, so nothing to compare with: {', '.join(new)}.")
