"""Several bench reports as one: what can be compared, and one sentence about what can't."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeclf_benchmarks.measuring.report import Gate, Report, read_report
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.measuring.speed import Comparison
from edgeclf_benchmarks.measuring.timing import Latency, Stage
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.session import is_reference

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A report as it was given: the file's name, its SHA-256, and its content."""

    file: str
    sha256: str
    report: Report


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of one report. `name` is unique among all reports; `machine` is the machine's readable name."""

    name: str
    machine: str
    report: Report
    row: Row

    @property
    def is_reference(self) -> bool:
        return self.row.name == self.report.reference

    @property
    def is_candidate(self) -> bool:
        """Whether it is there to be deployed: a bundle, and not what bundles are measured against.

        A reference is no candidate where it was chosen as one (--reference), or is the pytorch bundle; the first of
        several bundles, taken because no other was given, stays one.
        """
        if self.row.kind != "bundle":
            return False
        alone = sum(row.kind == "bundle" for row in self.report.rows) == 1
        chosen = self.report.reference_chosen or is_reference(self.row.target)
        return alone or not (self.is_reference and chosen)

    @property
    def proven(self) -> bool:
        """False: its predictions for the golden images were wrong on this machine, so it was not timed."""
        return self.row.proof is None or self.row.proof.verdict != "fail"

    def latency(self, stage: Stage = "infer") -> Latency | None:
        """At the batch size and the threads that rows are compared at."""
        settings = self.report.settings
        return self.row.latency(stage, settings.batch_sizes[0], settings.threads[0])

    def comparison(self) -> Comparison | None:
        """Its inference against its report's reference, at the same."""
        settings = self.report.settings
        return self.report.comparison(self.row.name, "infer", settings.batch_sizes[0], settings.threads[0])

    @property
    def images_per_s(self) -> float | None:
        """Throughput of the offline scenario."""
        found = [each.images_per_s for each in self.row.scenarios if each.name == "offline"]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence of the verdict. "note": nothing that passed or failed, but what limits the figures."""

    kind: Literal["pass", "fail", "inconclusive", "note"]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What `edgeclf compare` writes as report.json: schema 1, kind "compare".

    Attributes
    ----------
    command
        The command line, as a shell takes it.
    verdict
        The findings, the most serious first.
    gates
        Each --fail-if for each row; `row` is the name of an entry.
    sources
        The reports, whole.
    baseline
        The older report that gates and the section of changes refer to; None: none was given.
    """

    schema: int = SCHEMA
    kind: Literal["compare"] = "compare"
    created_utc: str
    edgeclf: str
    command: str
    verdict: tuple[Finding, ...]
    gates: tuple[Gate, ...]
    sources: tuple[Source, ...]
    baseline: Source | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All rows of all reports."""
        return entries_of(self.sources)


def read_sources(paths: Sequence[Path]) -> tuple[Source, ...]:
    """The reports in the files. Raises DataError for damaged ones, and for those that can't be compared."""
    sources = []
    for path in paths:
        report = _read(path)
        sources.append(Source(path.name, hash_file(path), report))
    seen: dict[str, Path] = {}
    for source, path in zip(sources, paths, strict=True):
        if source.sha256 in seen:
            raise UsageError(f"{path} is the same report as {seen[source.sha256]}; give each report once")
        seen[source.sha256] = path
    for source, path in zip(sources[1:], paths[1:], strict=True):
        check_alike(sources[0].report, source.report, str(paths[0]), str(path))
    return tuple(sources)


def _read(path: Path) -> Report:
    """One report; a merged one is refused by name rather than as damaged."""
    try:
        return read_report(path)
    except DataError:
        if path.is_file() and _is_merged(path):
            raise DataError(f"{path}: reports merged by compare; give the reports of `edgeclf bench` instead") from None
        raise


def _is_merged(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == "compare"


def check_alike(first: Report, other: Report, first_name: str, other_name: str) -> None:
    """Raises DataError unless both are of one task, one set of classes in one order, and the same images.

    A report that measured latency alone goes with any report of the same classes.
    """
    both = f"{first_name} and {other_name}"
    mine, others = _tasks(first), _tasks(other)
    if mine != others:
        raise DataError(f"{both} are of different tasks: {', '.join(mine)} and {', '.join(others)}; compare them apart")
    orders = {row.labels for row in first.rows}
    for row in other.rows:
        if row.labels in orders:
            continue
        if any(set(row.labels) == set(order) for order in orders):
            raise DataError(f"{both} have their labels in different orders ({row.name!r}); export from one checkpoint")
        raise DataError(f"{both} are of different tasks: {_differences(first.rows[0].labels, row.labels)}")
    if first.data is None or other.data is None:
        return
    if first.data.classes != other.data.classes:
        raise DataError(f"{both} have the data's labels in different orders; bench both on one data set")
    if first.data.digest != other.data.digest:
        raise DataError(
            f"{both} are of different data ({first.data.name}, {first.data.digest[:12]} and {other.data.name}, "
            f"{other.data.digest[:12]}); bench both on the same --data"
        )
    if first.data.split != other.data.split or first.data.images != other.data.images:
        raise DataError(
            f"{both} are of different images ({len(first.data.images)} of {first.data.split} and "
            f"{len(other.data.images)} of {other.data.split}); bench both with the same --split, --images and --seed"
        )


def _tasks(report: Report) -> list[str]:
    """The tasks of its rows: one label an image (also as a margin), several labels, or embeddings."""
    return sorted({_task(row) for row in report.rows})


def _task(row: Row) -> str:
    if not row.labels:
        return "embeddings"
    return "several labels" if row.multi_label else "one label"


def _differences(mine: Sequence[str], others: Sequence[str]) -> str:
    only = (set(mine) - set(others), set(others) - set(mine))
    here, there = (", ".join(map(repr, sorted(each)[:3])) or "none" for each in only)
    return f"{len(mine)} and {len(others)} classes (only in the first: {here}; only in the other: {there})"


def entries_of(sources: Sequence[Source]) -> tuple[Entry, ...]:
    """All rows of all reports, with names that are unique."""
    machines = machine_names([source.report for source in sources])
    several = len(sources) > 1
    return tuple(
        Entry(f"{row.name} @ {machine}" if several else row.name, machine, source.report, row)
        for source, machine in zip(sources, machines, strict=True)
        for row in source.report.rows
    )


def machine_names(reports: Sequence[Report]) -> tuple[str, ...]:
    """Jetson or CPU; with the report's number where two names are the same."""
    names = [each.machine.get("jetson") or each.machine.get("cpu") or each.machine_id for each in reports]
    many = Counter(names)
    return tuple(f"{name} #{place}" if many[name] > 1 else name for place, name in enumerate(names, 1))
