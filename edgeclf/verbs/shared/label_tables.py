"""What `edgeclf eval` prints where images may have several labels: figures, and a line for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import grid, show, styled

if TYPE_CHECKING:
    from edgeclf.evaluation.multilabel_report import MultiLabelReport

_MOST_ROWS = 30


def show_label_evaluation(report: MultiLabelReport) -> None:
    """The tables on stdout."""
    from edgeclf.evaluation.multilabel_page import LABEL_HEADINGS, figure_rows, label_rows
    from edgeclf.evaluation.words import images_in_words

    subject, figures = report.subject, grid()
    for name, value, interval, how in figure_rows(report):
        bounds = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        figures.add_row(styled(name, "cyan"), "n/a" if value is None else f"{value:.3f}", bounds, styled(how, "dim"))
    rows, labels = list(label_rows(report)), grid(*LABEL_HEADINGS)
    for label, *cells in rows[:_MOST_ROWS]:
        labels.add_row(styled(label), *cells)
    if len(rows) > _MOST_ROWS:
        labels.add_row(styled(f"… the {_MOST_ROWS} of {len(rows)} labels with the smallest AP", "dim"))
    show(
        styled(subject.name, "bold") + styled(f"  {subject.target}, {report.compute_precision}", "not bold dim"),
        styled(images_in_words(report), "dim"),
        "",
        figures,
        "",
        labels,
    )
