"""An evaluation as one HTML page that needs no network: figures, classes, plots, what was confused most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.evaluation.words import images_in_words, of_few_images, untempered
from edgeclf_benchmarks.measuring.thresholds import in_words
from edgeclf_benchmarks.page.document import document, plot, section
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import Table, to_html
from edgeclf_runtime.metrics.intervals import Interval

_PLOTS = {
    "confusion.png": ("Confusion", "Rows are the right classes, columns the predictions"),
    "curves.png": ("Curves", "ROC and precision-recall, one class against the rest"),
    "reliability.png": ("Reliability", "How often predictions of a confidence are right"),
    "errors.png": ("Surest mistakes", "The wrong predictions that were made with most confidence"),
}


def evaluation_page(judged: EvaluationReport, folder: Path) -> str:
    """The whole page, with the plots that lie in `folder`."""
    subject = judged.subject
    use = f" {judged.test_use}." if judged.test_use is not None else ""
    body = section("Figures", to_html(_figures(judged)) + _temperature(judged)) + section(
        "Classes", to_html(_classes(judged))
    )
    for name, (heading, told) in _PLOTS.items():
        if (folder / name).exists():
            image = plot((folder / name).read_bytes(), told, photographs=name == "errors.png")
            body += section(heading, f'<p class="dim">{text(told)}.</p>{image}')
    facts = ", ".join(f"{name} {value}" for name, value in {**judged.machine, **judged.engine}.items())
    return document(
        f"Evaluation of {subject.name}",
        body,
        over="edgeclf eval",
        about=text(f"{images_in_words(judged)}.{use}"),
        footer=text(f"{judged.created_utc}; {subject.target}, {judged.compute_precision}; {subject.digest}; {facts}"),
    )


def _figures(judged: EvaluationReport) -> Table:
    return Table("What the predictions are worth", ("figure", "value [95 %]", "how"), tuple(_rows(judged)), ("how",))


def _temperature(judged: EvaluationReport) -> str:
    """What the temperature rests on, and the warning where that is little."""
    fit = judged.subject.temperature_fit
    told = [str(fit), fit.caution and f"warning: {fit.caution}"] if fit is not None else []
    return "".join(f'<p class="dim">{text(each)}</p>' for each in told if each)


def _rows(judged: EvaluationReport) -> Iterator[tuple[str, str, str]]:
    figures = judged.evaluation

    temperature = judged.subject.temperature

    def row(
        name: str, value: float | None, interval: Interval | None = None, how: str = ""
    ) -> Iterator[tuple[str, str, str]]:
        if value is not None:
            bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
            yield name, f"{value:.3f}{bounds}", interval.method if interval else how

    yield from row("top-1", figures.top1, figures.top1_interval)
    yield from row("top-3", figures.top3)
    yield from row("top-5", figures.top5)
    yield from row("macro-F1", figures.macro_f1, figures.macro_f1_interval)
    yield from row("macro-AUC", figures.macro_auc, figures.macro_auc_interval)
    yield from row("ECE", figures.ece, how=untempered(figures.ece_untempered, temperature))
    yield from row("NLL", figures.nll, how=untempered(figures.nll_untempered, temperature))
    if judged.answered is not None:
        yield "unknown", f"{1 - judged.answered:.1%}", in_words(judged.subject.thresholds)
        yield from row("right of the others", judged.right_of_answered)


def _classes(judged: EvaluationReport) -> Table:
    rows = [
        (
            each.label,
            str(each.support),
            *("n/a" if value is None else f"{value:.3f}" for value in (each.precision, each.recall, each.f1, each.auc)),
            of_few_images(each),
        )
        for each in sorted(judged.evaluation.per_class, key=lambda each: 2.0 if each.f1 is None else each.f1)
    ]
    headings = ("class", "images", "precision", "recall", "F1", "AUC", "remark")
    shown = len(headings) if any(row[-1] for row in rows) else -1 + len(headings)
    return Table(
        "A line a class, the lowest F1 first", headings[:shown], tuple(row[:shown] for row in rows), ("remark",)
    )
