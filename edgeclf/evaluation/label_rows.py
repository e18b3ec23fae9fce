"""The rows of the tables on images with several labels: figures of all labels together, and a row for each label."""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.evaluation.unknown_rows import Row, unknown_rows
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

LABEL_HEADINGS = ("label", "images", "predicted", "threshold", "precision", "recall", "F1", "AP", "AUC", "ECE")


def figure_rows(found: MultiLabelEvaluation, report: EvaluationReport) -> Iterator[Row]:
    """(name, value, interval, how) of each figure of all labels together, and of what is unknown."""
    lacking = sum(not each.support for each in found.per_label)
    of_labels = f"{lacking} of {len(found.classes)} labels have no image" if lacking else ""

    def row(name: str, value: float | None, interval: Interval | None = None, how: str = "") -> Row:
        return name, value, interval, how or (f"95 %: {interval.method}" if interval else "")

    yield row("mAP", found.mean_average_precision, found.mean_average_precision_interval, of_labels)
    yield row("macro-F1", found.macro_f1, found.macro_f1_interval)
    yield row("micro-F1", found.micro_f1, found.micro_f1_interval)
    yield row("micro precision", found.micro_precision, how="of the labels that were predicted")
    yield row("micro recall", found.micro_recall, how="of the labels that are there")
    yield row("exact match", found.exact_match, found.exact_match_interval)
    yield row("Hamming loss", found.hamming_loss, found.hamming_loss_interval)
    yield row("macro AUC", found.macro_auc)
    yield row("ECE", found.macro_ece, how="the mean of the labels'")
    if report.answered is not None:
        yield row(
            "not unknown",
            report.answered,
            how="of all images; the figures above count their labels as if none were unknown",
        )
    if report.unknown is not None:
        yield from unknown_rows(report.unknown, several_labels=True)


def label_rows(found: MultiLabelEvaluation) -> Iterator[tuple[str, ...]]:
    """The cells of each label, the lowest average precision first, those that nothing is known of last."""
    for each in found.worst_first:
        values = (each.precision, each.recall, each.f1, each.average_precision, each.auc, each.ece)
        shares = ("n/a" if value is None else f"{value:.3f}" for value in values)
        yield each.label, f"{each.support:,}", f"{each.predicted:,}", f"{each.threshold:.3f}", *shares
