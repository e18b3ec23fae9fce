"""The columns of a comparison on spoilt images, for report.md and the page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edgeclf_benchmarks.comparing.columns import NONE, Column
from edgeclf_benchmarks.comparing.compare import Entry


def robustness_columns(entries: Sequence[Entry]) -> tuple[Column, ...]:
    """Of entries that answered spoilt images: top-1 at each level of each corruption, the mean, the paired change."""
    names = dict.fromkeys(
        each.name for entry in entries if entry.row.robustness is not None for each in entry.row.robustness.entries
    )
    levels = (Column(name, partial(_spoilt, name=name)) for name in names)
    return (Column("images", _spoilt_images), Column("as they are", _clean), *levels, *_ROBUSTNESS)


def _spoilt_images(entry: Entry) -> str:
    return NONE if entry.row.robustness is None else str(entry.row.robustness.images)


def _clean(entry: Entry) -> str:
    return NONE if entry.row.robustness is None else f"{entry.row.robustness.clean_top1:.3f}"


def _spoilt(entry: Entry, name: str) -> str:
    """ "0.81 0.72 0.40": levels 1 to 3."""
    entries = entry.row.robustness.entries if entry.row.robustness else ()
    return " ".join(f"{each.top1:.3f}" for each in entries if each.name == name) or NONE


def _spoilt_mean(entry: Entry) -> str:
    found = entry.row.robustness
    if found is None:
        return NONE
    interval = found.mean_top1_interval
    return f"{found.mean_top1:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")


def _spoilt_change(entry: Entry) -> str:
    found = entry.row.robustness
    if found is None or found.mean_change_points is None:
        return NONE
    interval = found.mean_change_interval_points
    bounds = f" [{interval.low:+.2f}, {interval.high:+.2f}]" if interval else ""
    return f"{found.mean_change_points:+.2f} points{bounds}"


def _spoilt_worst(entry: Entry) -> str:
    worst = entry.row.robustness.worst if entry.row.robustness else None
    return NONE if worst is None else f"{worst.name} {worst.level}: {worst.top1_change_points:+.1f} points"


def _spoilt_verdict(entry: Entry) -> str:
    found = entry.row.robustness
    return NONE if found is None else found.verdict or "reference"


_ROBUSTNESS = (
    Column("mean [95 %]", _spoilt_mean),
    Column("Δmean [95 %]", _spoilt_change),
    Column("falls most at", _spoilt_worst),
    Column("verdict", _spoilt_verdict),
)
