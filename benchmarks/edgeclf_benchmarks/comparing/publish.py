"""A comparison as a folder: report.json for programs, report.md for a pull request, report.html for people."""

from __future__ import annotations

import json
from pathlib import Path

from edgeclf_benchmarks.comparing.columns import PARITY, SPEED, told
from edgeclf_benchmarks.comparing.compare import Compared, entries_of
from edgeclf_benchmarks.comparing.markup import markdown, markdown_table
from edgeclf_benchmarks.comparing.page import page
from edgeclf_benchmarks.comparing.spoilt_columns import robustness_columns
from edgeclf_runtime.records import to_json
from edgeclf_runtime.writer import writing


def publish(compared: Compared, folder: Path, *, force: bool = False) -> None:
    """Writes the three files in one step. Raises UsageError where the folder exists and `force` is False."""
    with writing(folder, force=force) as draft:
        draft.mkdir()
        (draft / "report.json").write_text(json.dumps(to_json(compared), allow_nan=False) + "\n")
        (draft / "report.md").write_text(summary(compared), encoding="utf-8")
        (draft / "report.html").write_text(page(compared), encoding="utf-8")


def summary(compared: Compared) -> str:
    """The comparison as Markdown: verdict, gates, figures, parity, warnings, where it comes from."""
    entries = entries_of(compared.sources)
    parts = ["# edgeclf compare\n", "".join(f"- {markdown(each)}\n" for each in compared.verdict)]
    if compared.gates:
        gates = [(gate.line, gate.verdict) for gate in compared.gates]
        parts += ["## Gates\n", markdown_table(("fails if: row: found", "verdict"), gates)]
    spoilt = tuple(each for each in entries if each.row.robustness is not None)
    for heading, columns, some in (
        ("Figures", SPEED, entries),
        ("Parity with the reference", PARITY, tuple(each for each in entries if each.row.parity is not None)),
        ("Top-1 on spoilt images, levels 1 to 3", robustness_columns(spoilt), spoilt),
    ):
        if some:
            shown = told(columns, some)
            rows = [(each.name, *(column.cell(each) for column in shown)) for each in some]
            parts += [f"## {heading}\n", markdown_table(("row", *(column.heading for column in shown)), rows)]
    cautions = [
        (source.file, each.row or "all", each.found, each.advice)
        for source in compared.sources
        for each in source.report.cautions
    ]
    if cautions:
        parts += ["## Warnings\n", markdown_table(("report", "row", "found", "what to do"), cautions)]
    sources = [(each.file, each.report.command, each.report.created_utc, each.sha256) for each in compared.sources]
    parts += ["## Reports\n", markdown_table(("file", "command", "measured", "SHA-256"), sources)]
    return "\n".join(parts)
