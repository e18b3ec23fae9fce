"""What changed since the baseline, row by row, and which rows only one of both has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.comparing.changes import Figure, flips, latency_change, same_hardware, top1_drop
from edgeclf_benchmarks.comparing.columns import NONE, milliseconds
from edgeclf_benchmarks.comparing.compare import Compared, Entry, Finding, Source, entries_of
from edgeclf_benchmarks.comparing.tables import Table
from edgeclf_benchmarks.measuring.speed import Speed, speed_of


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
        ("row", "p50 before", "p50 now", "now ÷ before [95 %]", "latency", "Δtop-1 [95 %]", "flips"),
        tuple((entry.name, *_cells(entry, old)) for _, entry, old in pairs),
        words=("latency",),
        marks=tuple(number for number, _, _ in pairs),
    )


def _cells(entry: Entry, old: Entry) -> Iterator[str]:
    here = same_hardware(entry.report.machine, old.report.machine)
    mine, other = entry.latency(), old.latency()
    yield milliseconds(other.p50_ms if here and other is not None else None)
    yield milliseconds(None if mine is None else mine.p50_ms)
    ratio = latency_change(entry, old) if here else None
    yield NONE if ratio is None else f"{ratio.value:.3f}{_bounds(ratio, '.3f')}"
    yield _speed(ratio) if here else "another machine"
    drop = top1_drop(entry, old)
    yield NONE if drop is None else f"{0 - drop.value:+.2f} points{_bounds(drop, '+.2f', turned=True)}"
    flipped = flips(entry, old)
    yield NONE if flipped is None else f"{flipped.value:.0f}"


def _bounds(figure: Figure, form: str, *, turned: bool = False) -> str:
    """The interval in brackets; `turned`: of a loss as of a change."""
    if figure.interval is None:
        return ""
    low, high = figure.interval.low, figure.interval.high
    low, high = (0 - high, 0 - low) if turned else (low, high)
    return f" [{low:{form}}, {high:{form}}]"


def _speed(ratio: Figure | None) -> Speed | str:
    """A difference only where the whole interval is beyond 1, and the ratio beyond the A/A floor."""
    if ratio is None or ratio.interval is None or ratio.rounds is None:
        return NONE
    return speed_of(ratio.value, ratio.interval, ratio.rounds, ratio.floor or 1.0)


def unpaired(entries: Sequence[Entry], baseline: Source | None) -> Iterator[Finding]:
    """Rows that came or went since the baseline: nothing can be said of how they changed."""
    if baseline is None:
        return
    now, before = {entry.row.name for entry in entries}, [row.name for row in baseline.report.rows]
    if gone := [name for name in before if name not in now]:
        yield Finding("note", f"Only in the baseline {baseline.file}, so not measured again: {', '.join(gone)}.")
    if new := sorted(now - set(before)):
        yield Finding("note", f"Not in the baseline {baseline.file}, so nothing to compare with: {', '.join(new)}.")
