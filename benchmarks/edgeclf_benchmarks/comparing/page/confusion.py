"""Confusion of classes: a matrix an entry and its difference from the reference, or the pairs that matter most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.page.markers import badges
from edgeclf_benchmarks.page.escaping import name, shortened_apart, text
from edgeclf_benchmarks.page.html_tables import Table, scrolling, to_html
from edgeclf_benchmarks.page.marks import badge
from edgeclf_runtime.metrics.metrics import Evaluation

_MOST_CLASSES, _MOST_PAIRS = 20, 20
_LONGEST_HEADING = 18
Counts = Sequence[Sequence[int]]


def confusions(entries: Sequence[Entry]) -> str:
    """Each entry's matrix beside its difference from its reference; with many classes the pairs instead."""
    parts: list[str] = []
    shown_as: dict[tuple[str, Counts], int] = {}
    for number, entry in enumerate(entries, 1):
        found = entry.row.evaluation
        if not isinstance(found, Evaluation):
            continue
        first = shown_as.setdefault((entry.row.name, found.confusion), number)
        whose = f'<span class="named">{badge(number)}<span>{name(entry.name)}</span></span>'
        if first != number:  # on another machine
            parts.append(f'<p class="same">{whose} <span class="dim">the same as {badges([first], entries)}</span></p>')
            continue
        worst = next(pairs_of(found.classes, found.confusion), None)
        summary = (
            "no confusion" if worst is None else f"most often: {worst[1]} predicted as {worst[2]}, {_times(worst[0])}"
        )
        shown = "".join(_tables(entry, found))
        parts.append(
            f'<details{"" if parts else " open"}><summary>{whose} <span class="dim">{text(summary)}</span></summary>'
            f'<div class="beside">{shown}</div></details>'
        )
    return "".join(parts)


def _tables(entry: Entry, found: Evaluation) -> Iterator[str]:
    reference = reference_of(entry)
    if len(found.classes) <= _MOST_CLASSES:
        yield _matrix(f"{entry.name}: rows are labels, columns predictions", found.classes, found.confusion)
    elif (table := pairs_table(entry, found)).rows:
        yield to_html(table)
    if reference is None:
        return
    if found.confusion == reference.confusion:
        yield f'<p class="dim">No cell differs from that of {name(entry.report.reference)}.</p>'
    elif len(found.classes) <= _MOST_CLASSES:
        caption = f"Images more (+) or fewer (−) than {entry.report.reference} has; bold: for the worse"
        yield _matrix(caption, found.classes, difference(found, reference), signed=True)
    else:
        yield to_html(changes_table(entry, found, reference))


def reference_of(entry: Entry) -> Evaluation | None:
    """The figures of the row that an entry's report refers to; None for that row itself, and for several labels."""
    found = None if entry.is_reference else entry.report.row(entry.report.reference).evaluation
    return found if isinstance(found, Evaluation) else None


def pairs_table(entry: Entry, found: Evaluation, most: int = _MOST_PAIRS) -> Table:
    """The commonest confusions."""
    rows = [
        (label, predicted, str(images))
        for images, label, predicted in list(pairs_of(found.classes, found.confusion))[:most]
    ]
    return Table(
        f"{entry.name}: commonest confusions", ("label", "predicted", "images"), tuple(rows), words=("predicted",)
    )


def changes_table(entry: Entry, found: Evaluation, reference: Evaluation, most: int = _MOST_PAIRS) -> Table:
    """The pairs, correct ones among them, whose count changed most from the reference."""
    changes = difference(found, reference)
    cells = [
        (-abs(images), label, predicted, f"{images:+d}")
        for label, row in enumerate(changes)
        for predicted, images in enumerate(row)
        if images
    ]
    rows = tuple(
        (found.classes[label], found.classes[predicted], images) for _, label, predicted, images in sorted(cells)[:most]
    )
    caption = f"{entry.name}: what changed most against {entry.report.reference}"
    return Table(caption, ("label", "predicted", "images"), rows, words=("predicted",))


def pairs_of(classes: Sequence[str], confusion: Counts) -> Iterator[tuple[int, str, str]]:
    """Images, label and predicted class of each confusion that happened, the commonest first."""
    found = [
        (-images, label, predicted)
        for label, row in enumerate(confusion)
        for predicted, images in enumerate(row)
        if images and label != predicted
    ]
    return ((-images, classes[label], classes[predicted]) for images, label, predicted in sorted(found))


def difference(found: Evaluation, reference: Evaluation) -> Counts:
    """Images more (+) or fewer (-) in each cell than the reference has."""
    return [
        [mine - other for mine, other in zip(row, others, strict=True)]
        for row, others in zip(found.confusion, reference.confusion, strict=True)
    ]


def _matrix(caption: str, classes: Sequence[str], counts: Counts, *, signed: bool = False) -> str:
    """Shaded by the share of the label's images, or of the largest difference."""
    short = [text(each) for each in shortened_apart(classes, _LONGEST_HEADING)]
    head = "".join(
        f'<th scope="col" title="{text(each)}"><span>{shown}</span></th>'
        for each, shown in zip(classes, short, strict=True)
    )
    largest = max(abs(images) for row in counts for images in row) or 1
    body = ""
    for label, row in enumerate(counts):
        whole = largest if signed else sum(row) or 1
        cells = "".join(_cell(label == predicted, images, whole, signed=signed) for predicted, images in enumerate(row))
        body += f'<tr><th scope="row" title="{text(classes[label])}">{short[label]}</th>{cells}</tr>'
    corner = '<td class="corner">label ↓ prediction →</td>'
    return scrolling(caption, f"<thead><tr>{corner}{head}</tr></thead><tbody>{body}</tbody>", kind="matrix")


def _cell(hit: bool, images: int, whole: int, *, signed: bool) -> str:
    if not images:
        return '<td class="none">·</td>'
    better = hit == (images > 0) if signed else hit
    share = f"--share:{100 * abs(images) / whole:.0f}%"
    shown = f"{images:+d}".replace("-", "−") if signed else str(images)
    return f'<td class="{"hit" if better else "miss"}" style="{share}">{shown}</td>'


def _times(images: int) -> str:
    return "once" if images == 1 else f"{images} times"
