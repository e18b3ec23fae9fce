"""A comparison as ONE self-contained HTML page: no script, no network, for screens of all sizes and for paper."""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf_benchmarks.comparing.columns import ACCURACY, COST, PARITY, SPEED, figures
from edgeclf_benchmarks.comparing.compare import Compared, Entry, Finding, entries_of
from edgeclf_benchmarks.comparing.page.confusion import confusions
from edgeclf_benchmarks.comparing.page.flips import cards, flipped_images
from edgeclf_benchmarks.comparing.page.label_tables import label_tables
from edgeclf_benchmarks.comparing.page.latency_charts import ecdf, stages, trace
from edgeclf_benchmarks.comparing.page.markers import key
from edgeclf_benchmarks.comparing.page.small_charts import areas_table, reliability, robustness, roc
from edgeclf_benchmarks.comparing.page.tables_below import (
    cautions,
    gates,
    machines,
    origins,
    per_class,
    settings,
    speed_caption,
)
from edgeclf_benchmarks.comparing.page.tradeoff_chart import pareto
from edgeclf_benchmarks.comparing.regression import since_baseline
from edgeclf_benchmarks.comparing.robustness_columns import robustness_tables
from edgeclf_benchmarks.measuring.timing import too_few_calls
from edgeclf_benchmarks.page.document import document
from edgeclf_benchmarks.page.escaping import name, text
from edgeclf_benchmarks.page.html_tables import Table, to_html

_SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "note": "i"}
_SPOKEN = {"pass": "Passed", "fail": "Failed", "inconclusive": "Inconclusive", "note": "Note"}
_LONGEST_TITLE = 120


def page(compared: Compared) -> str:
    """The whole page."""
    entries = entries_of(compared.sources)
    title = "edgeclf: " + ", ".join(dict.fromkeys(row.name for each in compared.sources for row in each.report.rows))
    shown = title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"
    parts = [(heading, content) for heading, content in _sections(compared, entries) if content]
    contents = "".join(f'<li><a href="#{_anchor(heading)}">{heading}</a></li>' for heading, _ in parts)
    body = "".join(
        f'<section aria-labelledby="{_anchor(heading)}"><h2 id="{_anchor(heading)}">{heading}</h2>{content}</section>'
        for heading, content in parts
    )
    return document(
        shown,
        body,
        over="edgeclf compare",
        heading=_headline(entries),
        about=_about(compared),
        contents=f'<nav aria-label="Contents"><ul>{contents}</ul></nav>',
        footer=f"Written by edgeclf {text(compared.edgeclf)}, {text(compared.created_utc)}, with "
        f"<code>{text(compared.command)}</code>",
    )


def _headline(entries: tuple[Entry, ...]) -> str:
    """How many bundles on which machines; several reports of one machine don't make several of it."""
    places, machines = {entry.machine for entry in entries}, {entry.report.machine_id for entry in entries}
    bundles = sum(entry.row.kind == "bundle" for entry in entries)
    rows = "1 bundle" if bundles == 1 else f"{bundles} bundles"
    if len(places) == 1:
        return f"{rows} on {name(entries[0].machine)}"
    return (
        f"{rows} on {len(machines)} machines" if len(machines) > 1 else f"{rows} on one machine, {len(places)} reports"
    )


def _about(compared: Compared) -> str:
    """The data, and when it was measured."""
    data = next((each.report.data for each in compared.sources if each.report.data is not None), None)
    days = sorted({each.report.created_utc[:10] for each in compared.sources})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    if data is None:
        return f"Latency alone, measured {text(when)}"
    return f"{text(data.in_words)}, measured {text(when)}"


def _sections(compared: Compared, entries: tuple[Entry, ...]) -> Iterator[tuple[str, str]]:
    numbers = range(1, len(entries) + 1)
    against = [number for number in numbers if entries[number - 1].row.parity is not None]
    whose = key(entries, numbers)
    yield "Verdict", _verdict(compared)
    yield "Since the baseline", _table(since_baseline(compared))
    if chart := pareto(entries):
        yield "Latency against accuracy", chart
    speed = _table(figures(speed_caption(compared.sources), SPEED, entries, numbers))
    yield "Speed", f"{speed}{_fine_print(entries)}"
    yield "Accuracy", _table(figures("Accuracy, and what training took", ACCURACY, entries, numbers))
    yield "Parity", _table(figures("Each row and its reference on the same images", PARITY, entries, against))
    yield "Cost", _table(figures("Size, memory, start and energy", COST, entries, numbers))
    if charts := f"{ecdf(entries)}{trace(entries)}{stages(entries)}":
        yield "Latency in detail", f'{whose}<div class="columns">{charts}</div>'
    yield "Confusion", confusions(entries)
    classes = "Labels" if any(entry.row.multi_label for entry in entries) else "Classes"
    yield classes, f"{''.join(map(to_html, label_tables(entries)))}{_table(per_class(entries))}"
    if panels := roc(entries):
        yield "ROC curves", f"{whose}{panels}{_table(areas_table(entries))}"
    if panels := reliability(entries):
        yield "Reliability", f'{panels}<p class="dim">{_RELIABILITY}</p>'
    yield "Changed predictions", _flipped(entries)
    if panels := robustness(entries):
        yield "Robustness", f"{whose}{panels}{''.join(map(_table, robustness_tables(entries)))}"
    yield "Warnings", _table(cautions(compared.sources)) or "<p>None.</p>"
    conditions = "".join(map(to_html, machines(compared.sources)))
    yield "Machines", f"{to_html(settings(compared.sources))}{conditions}"
    yield "Commands and hashes", "".join(map(to_html, origins(compared)))


_INTERVALS = "Brackets are 95 % intervals. A percentile is the upper bound of LoadGen's early stopping."
PLAIN_LOOP = (
    "The plain loop is no bundle: it is what a tutorial does at inference (PIL, torchvision's transforms, the eager "
    "PyTorch module, one image at a time) with the weights of the pytorch bundle, for comparison."
)
_RELIABILITY = (
    "Bars: the accuracy of the predictions of that confidence; the line across each bar: their mean confidence. "
    "A bar below its line means overconfidence. Narrow bars at the bottom: how many images."
)


def _fine_print(entries: tuple[Entry, ...]) -> str:
    """What the figures of speed mean, and which are missing because of too few calls."""
    lacking = too_few_calls([(entry.name, entry.latency()) for entry in entries])
    loop = PLAIN_LOOP if any(entry.row.kind == "plain-loop" for entry in entries) else ""
    sentences = (_INTERVALS, f"{lacking[:1].upper()}{lacking[1:]}." if lacking else "", loop)
    return "".join(f'<p class="dim">{text(sentence)}</p>' for sentence in sentences if sentence)


def _verdict(compared: Compared) -> str:
    shown = "".join(map(_finding, compared.verdict))
    count = sum(len(each.report.cautions) for each in compared.sources)
    if count:
        plural = "1 warning limits" if count == 1 else f"{count} warnings limit"
        shown += f'<li>{_sign("note")}<span>{plural} these figures: <a href="#warnings">what to do</a>.</span></li>'
    return f'<ul class="verdict">{shown}</ul>{_table(gates(compared))}'


def _finding(finding: Finding) -> str:
    return f"<li>{_sign(finding.kind)}<span>{text(finding.sentence)}</span></li>"


def _sign(kind: str) -> str:
    seen, spoken = (
        f'<span aria-hidden="true">{_SIGNS[kind]}</span>',
        f'<span class="visually-hidden">{_SPOKEN[kind]}:</span>',
    )
    return f'<span class="sign {kind}">{seen}{spoken}</span>'


def _table(table: Table | None) -> str:
    return "" if table is None else to_html(table)


def _flipped(entries: tuple[Entry, ...]) -> str:
    images, count = flipped_images(entries)
    if not images:
        return ""
    some = f"{len(images)} of the {count} images" if count > len(images) else f"All images ({count})"
    what = "that only one of a row and its reference predicts correctly; first those that most rows lose."
    if any(entry.row.multi_label for entry in entries):
        what = "of which a row and its reference predict different numbers of labels correctly; first those that lose."
    return f'<p class="dim">{some} {what}</p>{cards(entries, images)}'


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
