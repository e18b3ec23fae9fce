"""An evaluation of several labels an image as one HTML page: figures, labels, curves, the surest mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf.evaluation.multilabel_report import MultiLabelReport
from edgeclf.evaluation.words import images_in_words
from edgeclf_benchmarks.page.document import document, plot, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import Table, to_html
from edgeclf_runtime.metrics.intervals import Interval

Row = tuple[str, float | None, Interval | None, str]
_PLOTS = {
    "curves.png": ("Curves", "ROC and precision-recall, each label by itself"),
    "errors.png": ("Surest mistakes", "Labels that were predicted or missed with most confidence"),
}
LABEL_HEADINGS = ("label", "images", "predicted", "threshold", "precision", "recall", "F1", "AP", "AUC", "ECE")


def multilabel_page(report: MultiLabelReport, folder: Path) -> str:
    """The whole page, with the plots that lie in `folder`."""
    subject = report.subject
    use = f" {report.test_use}." if report.test_use is not None else ""
    figures = tuple((name, _value(value, interval), how) for name, value, interval, how in figure_rows(report))
    body = section(
        "Figures", to_html(Table("How good the predictions are", ("figure", "value [95 %]", "how"), figures))
    )
    labels = Table("One line per label, the lowest AP first", LABEL_HEADINGS, tuple(label_rows(report)))
    body += section("Labels", to_html(labels))
    for name, (heading, caption) in _PLOTS.items():
        if (folder / name).exists():
            image = plot((folder / name).read_bytes(), caption, photographs=name == "errors.png")
            body += section(heading, f'<p class="dim">{text(caption)}.</p>{image}')
    environment = ", ".join(f"{name} {value}" for name, value in {**report.machine, **report.engine}.items())
    return document(
        f"Evaluation of {subject.name}",
        body,
        over="edgeclf eval",
        about=text(f"{images_in_words(report)}.{use}"),
        footer=text(
            f"{report.created_utc}; {subject.target}, {report.compute_precision}; {subject.digest}; {environment}"
        ),
    )


def figure_rows(report: MultiLabelReport) -> Iterator[Row]:
    """(name, value, interval, how) of each figure of all labels together."""
    found = report.evaluation
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


def label_rows(report: MultiLabelReport) -> Iterator[tuple[str, ...]]:
    """The cells of each label, the lowest average precision first, those that nothing is known of last."""
    found = report.evaluation.per_label
    for each in sorted(found, key=lambda each: 2.0 if each.average_precision is None else each.average_precision):
        values = (each.precision, each.recall, each.f1, each.average_precision, each.auc, each.ece)
        shares = ("n/a" if value is None else f"{value:.3f}" for value in values)
        yield each.label, f"{each.support:,}", f"{each.predicted:,}", f"{each.threshold:.3f}", *shares


def _value(value: float | None, interval: Interval | None) -> str:
    bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
    return "n/a" if value is None else f"{value:.3f}{bounds}"
