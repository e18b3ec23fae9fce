"""A comparison as Markdown for a pull request: the page's content in tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeclf_benchmarks.comparing.columns import ACCURACY, COST, PARITY, SPEED, figures
from edgeclf_benchmarks.comparing.compare import Compared, Entry, entries_of
from edgeclf_benchmarks.comparing.page.confusion import changes_table, pairs_table, reference_of
from edgeclf_benchmarks.comparing.page.flips import flipped_images, flipped_table
from edgeclf_benchmarks.comparing.page.label_tables import label_tables
from edgeclf_benchmarks.comparing.page.latency_charts import latency_table
from edgeclf_benchmarks.comparing.page.page import page
from edgeclf_benchmarks.comparing.page.small_charts import areas_table
from edgeclf_benchmarks.comparing.page.tables_below import (
    cautions,
    gates,
    machines,
    origins,
    per_class,
    settings,
    speed_caption,
)
from edgeclf_benchmarks.comparing.regression import since_baseline
from edgeclf_benchmarks.comparing.robustness_columns import robustness_tables
from edgeclf_benchmarks.page.escaping import markdown
from edgeclf_benchmarks.page.html_tables import Table, to_markdown
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.metrics.metrics import Evaluation

_SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "note": "–"}
_MOST_CLASSES, _MOST_PAIRS = 20, 10


def summary(compared: Compared) -> str:
    """All sections of the page that have tables; long tables are shorter than on the page."""
    entries = entries_of(compared.sources)
    parts = ["# edgeclf compare\n"]
    parts.append("".join(f"- {_SIGNS[each.kind]} {markdown(each.sentence)}\n" for each in compared.verdict))
    for heading, tables in _sections(compared, entries):
        if shown := [to_markdown(table) for table in tables if table is not None]:
            parts += [f"## {heading}\n", *shown]
    return "\n".join(parts)


def _sections(compared: Compared, entries: Sequence[Entry]) -> Iterator[tuple[str, list[Table | None]]]:
    numbers = range(1, len(entries) + 1)
    against = [number for number in numbers if entries[number - 1].row.parity is not None]
    yield "Gates", [gates(compared)]
    yield "Since the baseline", [since_baseline(compared)]
    yield "Speed", [figures(speed_caption(compared.sources), SPEED, entries, numbers)]
    yield "Accuracy", [figures("Accuracy, and what training took", ACCURACY, entries, numbers)]
    yield "Parity", [figures("Each row and its reference on the same images", PARITY, entries, against)]
    yield "Cost", [figures("Size, memory, start and energy", COST, entries, numbers)]
    yield "Latency in detail", [latency_table(entries)]
    yield "Confusion", list(_confusions(entries))
    classes = "Labels" if any(entry.row.multi_label for entry in entries) else "Classes"
    yield classes, [*label_tables(entries, _MOST_CLASSES), per_class(entries, _MOST_CLASSES), areas_table(entries)]
    images, _ = flipped_images(entries)
    yield "Changed predictions", [flipped_table(entries, images) if images else None]
    yield "Robustness", robustness_tables(entries)
    yield "Warnings", [cautions(compared.sources)]
    yield "Machines", [settings(compared.sources), *machines(compared.sources)]
    yield "Commands and hashes", list(origins(compared))


def _confusions(entries: Sequence[Entry]) -> Iterator[Table | None]:
    for entry in entries:
        found, reference = entry.row.evaluation, reference_of(entry)
        if not isinstance(found, Evaluation):
            continue
        table = pairs_table(entry, found, _MOST_PAIRS)
        yield table if table.rows else None
        if reference is not None:
            changes = changes_table(entry, found, reference, _MOST_PAIRS)
            yield changes if changes.rows else None


def publish(compared: Compared, folder: Path, *, force: bool = False) -> None:
    """Writes the three files in one step. Raises UsageError where the folder exists and `force` is False."""
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / "report.json").write_text(json.dumps(to_json(compared), allow_nan=False) + "\n")
        (draft / "report.md").write_text(summary(compared), encoding="utf-8")
        (draft / "report.html").write_text(page(compared), encoding="utf-8")
