"""What `edgeclf eval` prints: figures with their intervals, a line for each class, what is confused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import bar, grid, show, styled
from edgeclf.verbs.shared.label_tables import label_figures, label_table

if TYPE_CHECKING:
    from edgeclf.evaluation.evaluation_report import EvaluationReport
    from edgeclf.sheet import Sheet
    from edgeclf_runtime.metrics.intervals import Interval
    from edgeclf_runtime.metrics.metrics import Evaluation

NONE = "n/a"
_MOST_ROWS, _MOST_CONFUSIONS = 30, 5


def show_evaluation(report: EvaluationReport) -> None:
    """The tables on stdout."""
    from edgeclf.evaluation.words import images_in_words
    from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

    figures, subject = report.evaluation, report.subject
    if isinstance(figures, MultiLabelEvaluation):
        tables = (label_figures(report, figures), label_table(figures))
    else:
        tables = (_figures(report, figures), _classes(figures))
    show(
        styled(subject.name, "bold") + styled(f"  {subject.target}, {report.compute_precision}", "not bold dim"),
        styled(images_in_words(report), "dim"),
        "",
        tables[0],
        "",
        tables[1],
    )
    if subject.temperature_fit is not None:
        show("", styled(str(subject.temperature_fit)))
        if subject.temperature_fit.caution is not None:
            show(styled(f"warning: {subject.temperature_fit.caution}", "yellow"))
    if not isinstance(figures, MultiLabelEvaluation) and (confused := _most_confused(figures)):
        show("", styled(f"most confused: {'; '.join(confused)}"))


def _figures(report: EvaluationReport, figures: Evaluation) -> Sheet:
    from edgeclf.evaluation.unknown_rows import unknown_rows
    from edgeclf.evaluation.words import untempered

    subject, table = report.subject, grid()

    def row(name: str, value: float | None, interval: Interval | None = None, remark: str = "") -> None:
        bounds = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        remark = remark or (f"95 %: {interval.method}" if interval else "")
        table.add_row(styled(name, "cyan"), _share(value), bounds, styled(remark, "dim"))

    row("top-1", figures.top1, figures.top1_interval)
    if figures.top3 is not None:
        row("top-3", figures.top3)
    row("top-5", figures.top5, remark="" if figures.top5 is not None else "5 classes or fewer")
    row("macro-F1", figures.macro_f1, figures.macro_f1_interval)
    missing = sum(each.support == 0 for each in figures.per_class)
    remark = f"{missing} of {len(figures.classes)} classes have no image" if missing else ""
    row("macro AUC", figures.macro_auc, figures.macro_auc_interval, remark)
    margins = "margins are no probabilities" if figures.scores == "margin" else ""
    row("ECE", figures.ece, remark=margins or untempered(figures.ece_untempered, subject.temperature))
    row("NLL", figures.nll, remark=margins or untempered(figures.nll_untempered, subject.temperature))
    if report.answered is not None:
        row("not unknown", report.answered, remark="at or above the thresholds")
        row("right of these", report.right_of_answered)
    for each in unknown_rows(report.unknown) if report.unknown is not None else ():
        row(*each)
    return table


def _classes(figures: Evaluation) -> Sheet:
    """A line for each class; of many, those with the smallest F1. No bar where few images say little."""
    from edgeclf.evaluation.words import of_few_images

    table = grid("class", "images", "precision", "recall", "F1", "AUC", "")
    per_class = figures.per_class
    shown = sorted(per_class, key=lambda each: each.f1 if each.f1 is not None else 2.0)[:_MOST_ROWS]
    for each in per_class if len(per_class) <= _MOST_ROWS else shown:
        shares = (_share(value) for value in (each.precision, each.recall, each.f1, each.auc))
        remark = styled(few, "yellow") if (few := of_few_images(each)) else styled(bar(each.f1 or 0.0, 16), "cyan")
        table.add_row(styled(each.label), str(each.support), *shares, remark)
    if len(per_class) > _MOST_ROWS:
        table.add_row(styled(f"… the {_MOST_ROWS} of {len(per_class)} classes with the smallest F1", "dim"))
    return table


def _most_confused(figures: Evaluation) -> list[str]:
    pairs = [
        (images, figures.classes[row], figures.classes[column])
        for row, counts in enumerate(figures.confusion)
        for column, images in enumerate(counts)
        if row != column and images
    ]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:_MOST_CONFUSIONS]
    return [f"{right} taken for {predicted} ({images})" for images, right, predicted in worst]


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
