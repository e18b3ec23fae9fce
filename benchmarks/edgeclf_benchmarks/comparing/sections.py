"""The sections of a comparison's page below its pictures: classes, machines, warnings, commands and hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from edgeclf_benchmarks.comparing.compare import Compared, Entry, Source, machine_names
from edgeclf_benchmarks.comparing.markup import table, text
from edgeclf_benchmarks.measuring.conditions import Conditions

_MOST_CLASSES, _MOST_CONFUSIONS = 20, 20


def confusions(entries: Sequence[Entry]) -> str:
    """A matrix an entry; with many classes the commonest confusions instead."""
    return "".join(_confusion(number, entry) for number, entry in enumerate(entries, 1) if entry.row.evaluation)


def _confusion(number: int, entry: Entry) -> str:
    found = entry.row.evaluation
    if found is None:
        return ""
    title = f"{number}. {entry.name}"
    if len(found.classes) > _MOST_CLASSES:
        wrong = sorted(
            ((images, right, answer) for right, row in enumerate(found.confusion) for answer, images in enumerate(row)),
            reverse=True,
        )
        rows = [
            (found.classes[right], found.classes[answer], str(images))
            for images, right, answer in wrong
            if images and right != answer
        ]
        caption = f"{title}: commonest confusions"
        body = table(caption, ("right", "answered", "images"), rows[:_MOST_CONFUSIONS])
    else:
        body = _matrix(title, found.classes, found.confusion)
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def _matrix(title: str, classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> str:
    """Shaded by the share of the right class's images."""
    head = "".join(f'<th scope="col">{text(each)}</th>' for each in classes)
    body = ""
    for right, row in enumerate(confusion):
        images = sum(row) or 1
        cells = "".join(
            f'<td class="{_kind(right, answer)}" style="--share:{100 * found / images:.0f}%">{found}</td>'
            for answer, found in enumerate(row)
        )
        body += f'<tr><th scope="row">{text(classes[right])}</th>{cells}</tr>'
    caption = f"{title}: rows are the right class, columns the answer"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption)}"><table class="matrix">'
        f'<caption>{text(caption)}</caption><thead><tr><th scope="col">right \\ answer</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _kind(right: int, answer: int) -> str:
    return "right" if right == answer else "wrong"


def per_class(entries: Sequence[Entry]) -> str:
    """F1 of each class, the classes on which entries do worst first."""
    judged = [(number, entry.row.evaluation) for number, entry in enumerate(entries, 1) if entry.row.evaluation]
    if not judged:
        return ""
    classes = judged[0][1].classes
    figures = [[found.per_class[place].f1 for _, found in judged] for place in range(len(classes))]
    order = sorted(
        range(len(classes)), key=lambda place: min((f1 for f1 in figures[place] if f1 is not None), default=2)
    )
    rows = [
        (
            classes[place],
            str(judged[0][1].per_class[place].support),
            *("n/a" if f1 is None else f"{f1:.3f}" for f1 in figures[place]),
        )
        for place in order[:100]
    ]
    caption = "F1 of each class, the lowest first" + (f" (100 of {len(classes)})" if len(classes) > 100 else "")
    return table(caption, ("class", "images", *(str(number) for number, _ in judged)), rows)


def machines(sources: Sequence[Source]) -> str:
    """Facts of each machine, and its conditions before and after."""
    parts = []
    names = machine_names([source.report for source in sources])
    for source, name in zip(sources, names, strict=True):
        report = source.report
        parts.append(table(f"{name} ({source.file})", ("fact", "value"), list(report.machine.items())))
        before, after = dict(_conditions(report.before)), dict(_conditions(report.after))
        rows = [(key, before.get(key, "n/a"), after.get(key, "n/a")) for key in dict.fromkeys([*before, *after])]
        parts.append(table(f"{name}: conditions", ("condition", "before", "after"), rows))
    return "".join(parts)


def _conditions(found: Conditions) -> Iterator[tuple[str, str]]:
    for field in fields(found):
        value = getattr(found, field.name)
        if isinstance(value, dict):
            yield from ((f"{zone} °C", f"{degrees:.1f}") for zone, degrees in value.items())
        elif value is not None:
            yield field.name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value)


def warnings(sources: Sequence[Source]) -> str:
    """What spoils or limits the figures, with what to do."""
    rows = [
        (source.file, each.row or "all", each.found, each.advice)
        for source in sources
        for each in source.report.cautions
    ]
    if not rows:
        return "<p>None.</p>"
    return table("Warnings, and what to do", ("report", "row", "found", "what to do"), rows)


def commands(compared: Compared) -> str:
    """How each report came about, and the hashes of reports, data and bundles."""
    rows = [
        (each.file, each.report.command, each.report.created_utc, each.report.edgeclf, each.sha256)
        for each in compared.sources
    ]
    bundles = [
        (
            row.name,
            row.backbone,
            row.target,
            row.weights,
            ", ".join(f"{key} {value}" for key, value in row.engine.items()),
            row.digest,
        )
        for source in compared.sources
        for row in source.report.rows
    ]
    data = [
        (found.name, found.split, str(len(found.images)), str(len(found.classes)), found.digest)
        for source in compared.sources
        if (found := source.report.data) is not None
    ]
    shown = f"<p>This page: <code>{text(compared.command)}</code>, {text(compared.created_utc)}</p>"
    shown += table("Reports", ("file", "command", "measured", "edgeclf", "SHA-256"), rows, kind="hashes")
    shown += table("Bundles", ("row", "backbone", "target", "weights", "engine", "digest"), bundles, kind="hashes")
    if data:
        shown += table(
            "Data", ("name", "split", "images", "classes", "digest"), list(dict.fromkeys(data)), kind="hashes"
        )
    return shown
