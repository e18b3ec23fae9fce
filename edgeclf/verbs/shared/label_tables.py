"""What `edgeclf eval` prints where images may have several labels: figures, and a line for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import grid, styled

if TYPE_CHECKING:
    from edgeclf.evaluation.evaluation_report import EvaluationReport
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

_MOST_ROWS = 30


def label_figures(report: EvaluationReport, found: MultiLabelEvaluation) -> Sheet:
    """The figures of all labels together, and of what is unknown, with their intervals."""
    from edgeclf.evaluation.label_rows import figure_rows

    figures = grid()
    for name, value, interval, how in figure_rows(found, report):
        bounds = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        figures.add_row(styled(name, "cyan"), "n/a" if value is None else f"{value:.3f}", bounds, styled(how, "dim"))
    return figures


def label_table(found: MultiLabelEvaluation) -> Sheet:
    """A line for each label; of many, those with the smallest AP."""
    from edgeclf.evaluation.label_rows import LABEL_HEADINGS, label_rows

    rows, labels = list(label_rows(found)), grid(*LABEL_HEADINGS)
    for label, *cells in rows[:_MOST_ROWS]:
        labels.add_row(styled(label), *cells)
    if len(rows) > _MOST_ROWS:
        labels.add_row(styled(f"… the {_MOST_ROWS} of {len(rows)} labels with the smallest AP", "dim"))
    return labels
