"""`edgeclf compare`: reports of bench side by side: a verdict, gates, and one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, say, show, styled, suggest, verdict, write_json
from edgeclf.verbs.shared.bench_options import FailIf
from edgeclf.verbs.shared.gate_verdicts import check_gates, say_left_out
from edgeclf.verbs.shared.options import AsJson, Force, Strict, shell_word
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_benchmarks.comparing.compare import Compared

Reports = Annotated[
    list[Path], typer.Argument(metavar="REPORT…", help="Reports that `edgeclf bench` wrote, on one or more machines.")
]


def compare(
    reports: Reports,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="REPORT", help="Earlier report to show changes against, and for relative gates."),
    ] = None,
    fail_if: FailIf = None,
    strict: Strict = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for report.html, report.md and report.json."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare bench reports: fastest bundle, parity, gates.

    The reports must be of the same images, classes and order of labels; the machines may differ. report.html is one
    file that needs no network.

    Gates are figure, sign and limit: p50_ms, p90_ms, p99_ms, images_per_s (inference), top1, top1_drop (points),
    p50_ratio, bundle_mb, flips (images), with >, >=, < or <=; with several labels an image map, map_drop (points) and
    flips (labels). They apply to bundles, not to the plain loop or the reference; "NAME: GATE" applies to the row of
    that name. A gate passes if the whole 95 % interval is within the limit, fails if all of it is beyond (p50_ratio: by
    more than A/A noise), and is inconclusive otherwise; then the exit code is 0, with --strict 1. top1_drop, map_drop,
    p50_ratio and flips refer to the row of the same name in --baseline, otherwise to the report's reference. Against a
    baseline, p50_ratio is scaled by a reference workload that every bench times, and is inconclusive if the machine or
    its load differed.

    \b
    Examples:
      edgeclf compare benches/1.json -o comparison
      edgeclf compare laptop.json board.json -o comparison --fail-if "p50_ms>12" --fail-if "top1_drop>0.5"
      edgeclf compare new.json --baseline old.json --fail-if "p50_ratio>1.05"
      edgeclf compare benches/1.json --fail-if "cats-int8: top1_drop>1" --strict
    """
    from edgeclf_benchmarks.comparing.comparison import compare as compare_reports

    if strict and not fail_if:
        raise UsageError("--strict is for gates; give --fail-if, too")
    compared = compare_reports(
        reports,
        baseline=baseline,
        fail_if=fail_if or (),
        output=output,
        force=force,
        command=shlex.join(["edgeclf", *sys.argv[1:]]),
    )
    if as_json:
        sources = [(each.file, each.sha256) for each in compared.sources]
        fields = {"verdict": compared.verdict, "gates": compared.gates, "sources": sources}
        write_json("compare", {**fields, "written": None if output is None else str(output)})
    else:
        _show(compared, fail_if or [])
    if output is not None:
        say(f"wrote {output / 'report.html'}, report.md, report.json", style="dim")
    elif not as_json:
        suggest(f"edgeclf compare {' '.join(shell_word(str(each)) for each in reports)} -o DIR   (one page of it all)")
    check_gates(compared.gates, strict=strict)


def _show(compared: Compared, fail_if: list[str]) -> None:
    from edgeclf_benchmarks.comparing.columns import SHORT, with_values
    from edgeclf_benchmarks.comparing.comparison import rows_without_gate

    entries = compared.entries
    columns = with_values(SHORT, entries)
    table, lines = grid("", *(each.heading for each in columns)), grid()
    for entry in entries:
        table.add_row(styled(entry.name, "cyan"), *(styled(each.cell(entry)) for each in columns))
    for gate in compared.gates:
        lines.add_row(verdict(gate.verdict), styled(gate.line))
    gates = ("", lines) if compared.gates else ()
    show(*(styled(each.sentence) for each in compared.verdict), "", table, *gates)
    say_left_out(rows_without_gate(compared, fail_if))
