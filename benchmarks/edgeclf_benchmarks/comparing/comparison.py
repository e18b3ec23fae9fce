"""`compare`: from the files of reports to one comparison with its gates, written to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeclf_benchmarks.comparing.compare import Compared, check_alike, entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule, without_gate
from edgeclf_benchmarks.comparing.markdown import publish
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.machine.facts import now_utc, package_version


def compare(
    reports: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    fail_if: Sequence[str] = (),
    output: str | Path | None = None,
    force: bool = False,
    command: str = "edgeclf_benchmarks.compare",
) -> Compared:
    """Reports of `bench` side by side: a verdict in sentences, and each gate for each row.

    Parameters
    ----------
    baseline
        An older report: what changed since, and what relative gates refer to.
    fail_if
        Gates such as "p50_ms>12", or "NAME: top1_drop>0.5" for the row of one bundle. One that failed is not raised.
    output
        Folder for report.html, report.md and report.json; None: nothing is written.
    command
        What the comparison names as the command that made it.

    Raises
    ------
    UsageError
        The folder exists and `force` is False, a report is given twice, or a gate makes no sense.
    DataError
        A report can't be read, can't be compared with the others, or no row has a value for a gate.
    """
    folder = None if output is None else Path(output)
    if folder is not None and folder.exists() and not force:
        raise UsageError(f"{folder} exists; give --force to replace it, or another --output")
    rules = [parse_rule(each) for each in fail_if]
    paths = [Path(each) for each in reports]
    sources = read_sources(paths)
    before = None if baseline is None else read_sources([Path(baseline)])[0]
    if before is not None:
        check_alike(before.report, sources[0].report, str(baseline), str(paths[0]))
    entries = entries_of(sources)
    gates = check_gates(rules, entries, () if before is None else entries_of([before]))
    compared = Compared(
        created_utc=now_utc(),
        edgeclf=package_version("edgeclf") or "",
        command=command,
        verdict=findings(sources, entries, gates, before),
        gates=gates,
        sources=sources,
        baseline=before,
    )
    if folder is not None:
        publish(compared, folder, force=force)
    return compared


def rows_without_gate(compared: Compared, fail_if: Sequence[str]) -> list[str]:
    """Rows that none of the gates applies to, each with the reason; [] without gates."""
    return without_gate([parse_rule(each) for each in fail_if], compared.entries)
