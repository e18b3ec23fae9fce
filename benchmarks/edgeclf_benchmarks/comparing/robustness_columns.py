"""Robustness in a comparison: columns of the means, and top-1 or mAP by corruption and level."""

from __future__ import annotations

from collections.abc import Sequence

from edgeclf_benchmarks.comparing.columns import NONE, Column, figures
from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.page.html_tables import Table


def robustness_tables(entries: Sequence[Entry]) -> list[Table | None]:
    """The means of each entry that was run on corrupted images, then top-1 or mAP at each level of each corruption."""
    corrupted = [number for number, entry in enumerate(entries, 1) if entry.row.robustness is not None]
    means = figures("Means over all corruptions and levels, on the same images", _ROBUSTNESS, entries, corrupted)
    return [means, _levels(entries, corrupted)] if corrupted else []


def figure_when_corrupted(entries: Sequence[Entry], *, start: bool = False) -> str:
    """ "top-1", or "mAP" where images may have several labels; "Top-1" at the `start` of a sentence."""
    found = next((each.row.robustness.figure for each in entries if each.row.robustness is not None), "top-1")
    return "Top-1" if start and found == "top-1" else found


def _levels(entries: Sequence[Entry], corrupted: Sequence[int]) -> Table:
    found: dict[tuple[str, int], dict[int, float]] = {}
    for number in corrupted:
        robustness = entries[number - 1].row.robustness
        for each in robustness.entries if robustness is not None else ():
            found.setdefault((each.name, each.level), {})[number] = each.value
    rows = [
        (f"{name} {level}", *(f"{shares[number]:.3f}" if number in shares else NONE for number in corrupted))
        for (name, level), shares in found.items()
    ]
    return Table(
        f"{figure_when_corrupted(entries, start=True)} by corruption and level (1 mild, 3 strong)",
        ("corruption", *(entries[number - 1].name for number in corrupted)),
        tuple(rows),
        across=(None, *corrupted),
    )


def _corrupted_images(entry: Entry) -> str:
    return NONE if entry.row.robustness is None else str(entry.row.robustness.images)


def _clean(entry: Entry) -> str:
    return NONE if entry.row.robustness is None else f"{entry.row.robustness.clean_value:.3f}"


def _corrupted_mean(entry: Entry) -> str:
    found = entry.row.robustness
    if found is None:
        return NONE
    interval = found.mean_interval
    return f"{found.mean_value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")


def _corrupted_change(entry: Entry) -> str:
    found = entry.row.robustness
    if found is None or found.mean_change_points is None:
        return NONE
    interval = found.mean_change_interval_points
    bounds = f" [{interval.low:+.2f}, {interval.high:+.2f}]" if interval else ""
    return f"{found.mean_change_points:+.2f} points{bounds}"


def _corrupted_worst(entry: Entry) -> str:
    worst = entry.row.robustness.worst if entry.row.robustness else None
    return NONE if worst is None else f"{worst.name} {worst.level}: {worst.change_points:+.1f} points"


def _corrupted_verdict(entry: Entry) -> str:
    found = entry.row.robustness
    return NONE if found is None else found.verdict or "reference"


_ROBUSTNESS = (
    Column("images", _corrupted_images),
    Column("clean", _clean),
    Column("mean [95 %]", _corrupted_mean),
    Column("Δmean [95 %]", _corrupted_change),
    Column("largest drop", _corrupted_worst, words=True),
    Column("verdict", _corrupted_verdict, words=True),
)
