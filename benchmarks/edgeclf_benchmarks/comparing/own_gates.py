"""The gates of a bench itself: whether they can be evaluated is checked before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeclf_benchmarks.comparing.compare import Source, check_alike, entries_of, read_sources
from edgeclf_benchmarks.comparing.gates import RELATIVE, Rule, check_gates, check_names, parse_rule, without_gate
from edgeclf_benchmarks.comparing.latency_change import same_hardware
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.machine.facts import machine_facts

_LABELLED = ("top1", "top1_drop", "map", "map_drop", "flips")


@dataclass(frozen=True, slots=True)
class OwnGates:
    """Gates, and the older report that relative ones refer to; None: the bench's own reference."""

    rules: tuple[Rule, ...]
    baseline: Source | None

    def check(self, rows: Sequence[str], data: LabelledImages | None, reference: str | None = None) -> None:
        """Raises UsageError or DataError for what the rows of this bench, on this data, can't evaluate."""
        check_names(self.rules, rows)
        for rule in self.rules:
            if rule.name in _LABELLED and data is None:
                raise UsageError(f"{rule.expression!r} needs predictions for labelled images; give --data, too")
            if rule.name in RELATIVE and self.baseline is None and len(rows) < 2:
                raise UsageError(f"{rule.expression!r} compares; give a second bundle, or --baseline")
            if rule.name in RELATIVE and self.baseline is None and rule.row is not None and rule.row == reference:
                raise UsageError(f"{rule.expression!r} compares the reference with itself; name another, or --baseline")
        if self.baseline is not None:
            self._check_baseline(self.baseline, rows, data)

    def _check_baseline(self, baseline: Source, rows: Sequence[str], data: LabelledImages | None) -> None:
        older, names = baseline.report, {rule.name for rule in self.rules}
        known = [row.name for row in older.rows]
        if not set(known) & set(rows):
            raise DataError(f"{baseline.file} has no row of these ({', '.join(rows)}); its rows: {', '.join(known)}")
        if "p50_ratio" in names and not same_hardware(machine_facts(), older.machine):
            raise DataError(
                f"{baseline.file} is of another machine, so p50_ratio can't be evaluated; bench it here first"
            )
        if data is None or not names & {"top1_drop", "map_drop", "flips"}:
            return
        if older.data is None:
            raise DataError(f"{baseline.file} measured latency alone; bench the baseline with --data, too")
        if (older.data.digest, older.data.split) != (data.digest, data.split):
            raise DataError(
                f"{baseline.file} is of other images ({older.data.name}, {older.data.split}, {older.data.digest[:12]}) "
                f"than these ({data.name}, {data.split}, {data.digest[:12]}); give both the same --data and --split"
            )

    def left_out(self, report: Report) -> list[str]:
        """Rows of the report that no gate applies to, and why."""
        return without_gate(self.rules, entries_of([Source("", "", report)]))

    def with_verdicts(self, report: Report, file: str) -> Report:
        """The report with its gates. Raises DataError for a baseline of other images or a gate without any value."""
        older = () if self.baseline is None else entries_of([self.baseline])
        if self.baseline is not None:
            check_alike(self.baseline.report, report, self.baseline.file, file)
        return replace(report, gates=check_gates(self.rules, entries_of([Source(file, "", report)]), older))


def read_gates(expressions: Sequence[str], baseline: Path | None) -> OwnGates:
    """The gates from their expressions. Raises UsageError, and DataError for a baseline that can't be read."""
    rules = tuple(parse_rule(each) for each in expressions)
    if baseline is not None and not rules:
        raise UsageError("--baseline is for gates; give --fail-if, too")
    return OwnGates(rules, None if baseline is None else read_sources([baseline])[0])
