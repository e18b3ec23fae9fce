"""What stands in the place of a confusion where images may have several labels: each row's labels, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_runtime.metrics.multilabel import LabelFigures, MultiLabelEvaluation

_MOST = 40
_HEADINGS = ("label", "images", "predicted", "missed", "false", "threshold", "precision", "recall", "F1", "AP", "ECE")


def label_tables(entries: Sequence[Entry], most: int = _MOST) -> Iterator[Table]:
    """A table an entry, the labels of the lowest average precision first; the same figures are shown once."""
    shown: dict[MultiLabelEvaluation, str] = {}
    for entry in entries:
        found = entry.row.evaluation
        if not isinstance(found, MultiLabelEvaluation) or found in shown:
            continue
        shown[found] = entry.name
        worst_first = found.worst_first
        of = f" ({most} of {len(worst_first)})" if len(worst_first) > most else ""
        caption = f"{entry.name}: labels, the lowest AP first{of}"
        yield Table(caption, _HEADINGS, tuple(map(_cells, worst_first[:most])), stacks=True)


def _cells(each: LabelFigures) -> tuple[str, ...]:
    """`missed` images have the label without being predicted to have it, `false` ones the other way round."""
    hits = round((each.recall or 0.0) * each.support)
    shares = (each.threshold, each.precision, each.recall, each.f1, each.average_precision, each.ece)
    counts = (each.support, each.predicted, each.support - hits, each.predicted - hits)
    return (
        each.label,
        *(f"{count:,}" for count in counts),
        *("n/a" if share is None else f"{share:.3f}" for share in shares),
    )
