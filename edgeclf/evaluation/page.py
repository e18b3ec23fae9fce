"""An evaluation as one HTML page that needs no network: figures, classes, plots, the surest mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.evaluation.label_rows import LABEL_HEADINGS, figure_rows, label_rows
from edgeclf.evaluation.unknown_rows import unknown_rows
from edgeclf.evaluation.words import images_in_words, of_few_images, untempered
from edgeclf.explanation.explanation import Explanation
from edgeclf_benchmarks.page.document import data_uri, document, plot, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import Table, to_html
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.metrics import Evaluation
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

_PLOTS = {
    "confusion.png": ("Confusion", "Rows are the right classes, columns the predictions"),
    "curves.png": ("Curves", "ROC and precision-recall, one class against the rest"),
    "reliability.png": ("Reliability", "How often predictions of a confidence are right"),
    "errors.png": ("Surest mistakes", "The wrong predictions that were made with most confidence"),
}
_PLOTS_OF_LABELS = {
    "curves.png": ("Curves", "ROC and precision-recall, each label by itself"),
    "errors.png": ("Surest mistakes", "Labels that were predicted or missed with most confidence"),
}
_HOW = (
    "The surest mistakes. What glows matters: where it is visible the score of the class is high. The image is what "
    "the network sees."
)
_STYLE = """
.why{list-style:none;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));padding:0;
gap:1.5rem 2rem} .why>li{display:grid;grid-template-columns:1fr 1fr;gap:.2rem .75rem;break-inside:avoid;min-width:0}
.why img{display:block;width:100%;border-radius:6px} .why p{grid-column:1/-1;font-size:.875rem}
"""


def evaluation_page(report: EvaluationReport, folder: Path) -> str:
    """The whole page, with the plots that lie in `folder`."""
    subject = report.subject
    use = f" {report.test_use}." if report.test_use is not None else ""
    figures = report.evaluation
    several = isinstance(figures, MultiLabelEvaluation)
    body = section("Figures", to_html(_figures(report)) + _temperature(report))
    if isinstance(figures, MultiLabelEvaluation):
        labels = Table(
            "One line per label, the lowest AP first", LABEL_HEADINGS, tuple(label_rows(figures)), stacks=True
        )
        body += section("Labels", to_html(labels))
    else:
        body += section("Classes", to_html(_classes(figures)))
    for name, (heading, caption) in (_PLOTS | (_PLOTS_OF_LABELS if several else {})).items():
        if (folder / name).exists():
            image = plot((folder / name).read_bytes(), caption, photographs=name == "errors.png")
            body += section(heading, f'<p class="dim">{text(caption)}.</p>{image}')
    body += section("Why they are wrong", _explained(report, folder))
    environment = ", ".join(f"{name} {value}" for name, value in {**report.machine, **report.engine}.items())
    return document(
        f"Evaluation of {subject.name}",
        body,
        over="edgeclf eval",
        about=text(f"{images_in_words(report)}.{use}"),
        style=_STYLE if report.explained else "",
        footer=text(
            f"{report.created_utc}; {subject.target}, {report.compute_precision}; {subject.digest}; {environment}"
        ),
    )


def _figures(report: EvaluationReport) -> Table:
    figures = report.evaluation
    rows = _label_figures(report, figures) if isinstance(figures, MultiLabelEvaluation) else _rows(report, figures)
    return Table("How good the predictions are", ("figure", "value [95 %]", "how"), tuple(rows), ("how",))


def _explained(report: EvaluationReport, folder: Path) -> str:
    """Two pictures a mistake: what speaks for the prediction, and what for the right class."""
    cards = []
    for each in report.explained:
        shown = "".join(
            f'<figure><img src="{data_uri((folder / name).read_bytes())}" alt="what speaks for {text(why.label)}">'
            f"<figcaption>{text(f'speaks for {why.label}, {why.score:.3f}')}{_doubt(why)}</figcaption></figure>"
            for name, why in zip(each.pictures, filter(None, (each.predicted, each.right)), strict=True)
        )
        answer = each.answer or f"predicted {each.predicted.label}, is {each.right.label if each.right else ''}"
        words = f"{each.path}: {answer}"
        cards.append(f"<li>{shown}<p>{text(words)}</p></li>")
    return f'<p class="dim">{text(_HOW)}</p><ul class="why">{"".join(cards)}</ul>' if cards else ""


def _doubt(why: Explanation) -> str:
    return "" if why.is_useful else "; no better than a centre prior, so it says little"


def _temperature(report: EvaluationReport) -> str:
    """What the temperature rests on, and the warning where that is little."""
    fit = report.subject.temperature_fit
    sentences = [str(fit), fit.caution and f"warning: {fit.caution}"] if fit is not None else []
    return "".join(f'<p class="dim">{text(each)}</p>' for each in sentences if each)


def _label_figures(report: EvaluationReport, figures: MultiLabelEvaluation) -> Iterator[tuple[str, str, str]]:
    for name, value, interval, how in figure_rows(figures, report):
        bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        yield name, "n/a" if value is None else f"{value:.3f}{bounds}", how


def _rows(report: EvaluationReport, figures: Evaluation) -> Iterator[tuple[str, str, str]]:
    temperature = report.subject.temperature

    def row(
        name: str, value: float | None, interval: Interval | None = None, how: str = ""
    ) -> Iterator[tuple[str, str, str]]:
        if value is not None:
            bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
            yield name, f"{value:.3f}{bounds}", how or (interval.method if interval else "")

    yield from row("top-1", figures.top1, figures.top1_interval)
    yield from row("top-3", figures.top3)
    yield from row("top-5", figures.top5)
    yield from row("macro-F1", figures.macro_f1, figures.macro_f1_interval)
    yield from row("macro-AUC", figures.macro_auc, figures.macro_auc_interval)
    yield from row("ECE", figures.ece, how=untempered(figures.ece_untempered, temperature))
    yield from row("NLL", figures.nll, how=untempered(figures.nll_untempered, temperature))
    if report.answered is not None:
        yield "unknown", f"{1 - report.answered:.1%}", str(report.subject.thresholds)
        yield from row("right of the others", report.right_of_answered)
    for name, value, interval, how in unknown_rows(report.unknown) if report.unknown is not None else ():
        yield from row(name, value, interval, how)


def _classes(figures: Evaluation) -> Table:
    rows = [
        (
            each.label,
            str(each.support),
            *("n/a" if value is None else f"{value:.3f}" for value in (each.precision, each.recall, each.f1, each.auc)),
            of_few_images(each),
        )
        for each in sorted(figures.per_class, key=lambda each: 2.0 if each.f1 is None else each.f1)
    ]
    headings = ("class", "images", "precision", "recall", "F1", "AUC", "remark")
    shown = len(headings) if any(row[-1] for row in rows) else -1 + len(headings)
    return Table(
        "One line per class, the lowest F1 first",
        headings[:shown],
        tuple(row[:shown] for row in rows),
        ("remark",),
        stacks=True,
    )
