"""`edgeclf compare`: reports of bench side by side: a verdict, gates, and one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import grid, say, show, styled, suggest, verdict, write_json
from edgeclf.verbs.shared.gate_verdicts import check_gates, say_left_out
from edgeclf.verbs.shared.options import AsJson, Force, Strict, shell_word
from edgeclf_runtime.errors import UsageError


def compare(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT…", help="What bench wrote, of one or many machines.")
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="REPORT", help="An older report: what changed since, and what gates refer to."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE",
            help='Exit with 1 if so beyond noise, such as "p50_ms>12"; may be given often.',
        ),
    ] = None,
    strict: Strict = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Write report.html, report.md and report.json there."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare what bench measured: which is fastest, which is as good as its reference, and which gates fail.

    The reports must be of the same images, classes and order of labels; the machines may differ. report.html is one
    file that needs no network. Gates: p50_ms, p90_ms, p99_ms, images_per_s (inference), top1, top1_drop (points),
    p50_ratio, bundle_mb, flips (images), with >, >=, < or <=. They are for the bundles, and leave the plain loop and
    the reference aside; "NAME: GATE" is for the row of that name, whichever. A gate passes where the whole 95 %
    interval keeps the limit, fails where all of it lies beyond (p50_ratio: by more than a bundle shows against itself),
    and is inconclusive between; that ends with 0, with --strict with 1. top1_drop, p50_ratio and flips are against the
    row of the same name in --baseline, or else against the report's reference. Against a baseline p50_ratio is taken
    in proportion to the yardstick that every bench times, and inconclusive where the machine or its load was another.

    \b
    Examples:
      edgeclf compare benches/1.json -o comparison
      edgeclf compare laptop.json board.json -o comparison --fail-if "p50_ms>12" --fail-if "top1_drop>0.5"
      edgeclf compare new.json --baseline old.json --fail-if "p50_ratio>1.05"
      edgeclf compare benches/1.json --fail-if "cats-int8: top1_drop>1" --strict
    """
    from edgeclf_benchmarks.comparing.columns import SHORT, told
    from edgeclf_benchmarks.comparing.compare import Compared, check_alike, entries_of, read_sources
    from edgeclf_benchmarks.comparing.findings import findings
    from edgeclf_benchmarks.comparing.gates import judge, parse_rule, without_gate
    from edgeclf_benchmarks.comparing.markdown import publish
    from edgeclf_runtime.machine.facts import now_utc, package_version

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists; give --force to replace it, or another --output")
    rules = [parse_rule(each) for each in fail_if or ()]
    if strict and not rules:
        raise UsageError("--strict is for gates; give --fail-if, too")
    sources = read_sources(reports)
    older = read_sources([baseline]) if baseline is not None else ()
    for source in older:
        check_alike(source.report, sources[0].report, str(baseline), str(reports[0]))
    entries = entries_of(sources)
    gates = judge(rules, entries, entries_of(older))
    before = older[0] if older else None
    compared = Compared(
        created_utc=now_utc(),
        edgeclf=package_version("edgeclf") or "",
        command=shlex.join(["edgeclf", *sys.argv[1:]]),
        verdict=findings(sources, entries, gates, before),
        gates=gates,
        sources=sources,
        baseline=before,
    )
    if output is not None:
        publish(compared, output, force=force)
    if as_json:
        fields = {
            "verdict": compared.verdict,
            "gates": gates,
            "sources": [(each.file, each.sha256) for each in sources],
        }
        write_json("compare", {**fields, "written": None if output is None else str(output)})
    else:
        columns = told(SHORT, entries)
        table = grid("", *(each.heading for each in columns))
        for entry in entries:
            table.add_row(styled(entry.name, "cyan"), *(styled(each.cell(entry)) for each in columns))
        lines = grid()
        for gate in gates:
            lines.add_row(verdict(gate.verdict), styled(gate.line))
        show(*(styled(each.sentence) for each in compared.verdict), "", table, *(("", lines) if gates else ()))
        say_left_out(without_gate(rules, entries))
    if output is not None:
        say(f"wrote {output / 'report.html'}, report.md, report.json", style="dim")
    elif not as_json:
        suggest(f"edgeclf compare {' '.join(shell_word(str(each)) for each in reports)} -o DIR   (one page of it all)")
    check_gates(gates, strict=strict)
