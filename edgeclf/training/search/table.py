"""A search as a table: candidates that went furthest first."""

from __future__ import annotations

from edgeclf.training.learning_curve.tables import duration
from edgeclf.training.search.state import Result, Score, Search
from edgeclf_benchmarks.page.html_tables import Table

_NONE = "–"


def results_table(search: Search) -> Table:
    """One row per candidate: finalists by accuracy, then those with a probe by accuracy, then the rest by latency."""
    return Table(
        "Candidates",
        ("backbone", "input px", "ms", "linear probe", "fine-tuned", "behind the best", "training", "left out"),
        tuple(_row(each) for each in sorted(search.candidates, key=_order)),
        words=("backbone", "left out"),
    )


def _order(each: Result) -> tuple[bool, int, float, float]:
    accuracy = 0.0 if each.last is None else each.last.accuracy
    return each.tuned is None, -len(each.probes), -accuracy, each.milliseconds


def _row(each: Result) -> tuple[str, ...]:
    probe = each.probes[-1] if each.probes else None
    seconds = sum(score.training_seconds for score in (*each.probes, each.tuned) if score is not None)
    return (
        each.name,
        _NONE if each.img_px is None else str(each.img_px),
        _latency(each),
        _NONE if probe is None else _accuracy(probe),
        _NONE if each.tuned is None else _accuracy(each.tuned),
        _behind(each),
        duration(seconds) if each.last else _NONE,
        each.left_out or "",
    )


def _latency(each: Result) -> str:
    if each.latency is None:
        return _NONE
    found = each.latency.interval
    return f"{each.latency.median_ms:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if found else "")


def _accuracy(score: Score) -> str:
    found = score.interval
    return f"{score.accuracy:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found else "")


def _behind(each: Result) -> str:
    if each.behind is None:
        return _NONE
    if each.behind_interval is None:
        return "the best"
    return f"{each.behind:+.2f} [{each.behind_interval.low:+.2f}, {each.behind_interval.high:+.2f}]"
