"""A learning curve as tables: every point, and how many images each approach needs."""

from __future__ import annotations

from edgeclf.training.learning_curve.curve import BASELINE, LearningCurve, Point
from edgeclf_benchmarks.page.html_tables import Table

_NONE = "n/a"


def points_table(curve: LearningCurve) -> Table:
    """One row per point, approach by approach, fewest images first."""
    points = [point for approach in curve.approaches for point in curve.of(approach)]
    return Table(
        "By approach, fewest images first",
        ("approach", "images", "share", name_of(curve), "macro-F1", "training", "where"),
        tuple(
            (
                point.approach,
                f"{point.images:,}",
                f"{point.fraction:.3g}",
                _accuracy(point),
                f"{point.macro_f1:.3f}",
                duration(point.training_seconds),
                point.path,
            )
            for point in points
        ),
        words=("approach", "where"),
    )


def needs_table(curve: LearningCurve) -> Table:
    """One row per approach: its best, the images it needs for that and to beat the baseline, the time it takes.

    An approach needs no more images than the fewest whose interval reaches its best accuracy; it is apart from the
    baseline where its whole interval lies above the baseline's on the same images.
    """
    rows = []
    for approach in curve.approaches:
        points = curve.of(approach)
        best = max(points, key=lambda point: point.accuracy)
        enough = next(point for point in points if _reaches(point, best.accuracy))
        apart = next((point for point in points if _apart(curve, point)), None)
        rows.append(
            (
                approach,
                f"{enough.images:,}",
                _accuracy(best),
                "the baseline" if approach == BASELINE else _NONE if apart is None else f"{apart.images:,}",
                duration(enough.training_seconds),
            )
        )
    headings = ("approach", "data needed", f"best {name_of(curve)}", f"beats {BASELINE} from", "training time")
    return Table("Data needed and training time", headings, tuple(rows), words=("approach",))


def name_of(curve: LearningCurve) -> str:
    """What its points are evaluated by, in words."""
    return "accuracy" if curve.figure == "top-1" else curve.figure


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _accuracy(point: Point) -> str:
    found = point.interval
    return f"{point.accuracy:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found else "")


def _reaches(point: Point, accuracy: float) -> bool:
    return (point.accuracy if point.interval is None else point.interval.high) >= accuracy


def _apart(curve: LearningCurve, point: Point) -> bool:
    """Whether a point's whole interval lies above the baseline's on the same training images."""
    base = next((each for each in curve.of(BASELINE) if each.fraction == point.fraction), None)
    if base is None or base is point or point.interval is None or base.interval is None:
        return False
    return point.interval.low > base.interval.high
