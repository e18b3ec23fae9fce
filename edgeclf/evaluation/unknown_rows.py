"""The rows of the tables on images of none of the classes: how well they are told apart, and found."""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf.evaluation.evaluation_report import UnknownEvaluation
from edgeclf.wording import count
from edgeclf_runtime.metrics.intervals import Interval

Row = tuple[str, float | None, Interval | None, str]


def unknown_rows(found: UnknownEvaluation, *, several_labels: bool = False) -> Iterator[Row]:
    """(name, value, interval, how) of each figure; with several labels an image may rightly have none."""
    kind = "unlike the known ones" if several_labels else "of no class"
    bare = found.known_without_label
    how = f"{count(found.images, 'image')} {kind}, by energy; by probability {found.auroc_of_score:.3f}"
    if bare:
        how += f"; {bare:,} of the {found.known_images:,} known ones show no label, and have little energy, too"
    yield "unknown AUROC", found.auroc, found.auroc_interval, how
    if found.auroc_of_features is not None:
        yield "by features", found.auroc_of_features, found.auroc_of_features_interval, "with class means"
    if found.missed is not None:
        yield (
            "unknown missed",
            found.missed,
            found.missed_interval,
            f"get a {'label' if several_labels else 'class'} all the same",
        )
    if found.false_alarms is not None:
        alarms = "unknown, but among the known ones" if several_labels else "unknown, but of a class"
        yield "false alarms", found.false_alarms, found.false_alarms_interval, alarms
