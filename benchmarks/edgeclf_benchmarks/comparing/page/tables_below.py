"""The tables below a comparison's charts: classes, machines, warnings, commands and hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from edgeclf_benchmarks.comparing.compare import Compared, Entry, Source, machine_names
from edgeclf_benchmarks.measuring.machine_state import Conditions
from edgeclf_benchmarks.page.html_tables import Table

_MOST_CLASSES = 40
_SEVERITY = {"fail": 0, "inconclusive": 1, "pass": 2}


def per_class(entries: Sequence[Entry], most: int = _MOST_CLASSES) -> Table | None:
    """F1 of each class, the classes on which entries do worst first."""
    evaluated = [(number, entry.row.evaluation) for number, entry in enumerate(entries, 1) if entry.row.evaluation]
    if not evaluated:
        return None
    classes = evaluated[0][1].classes
    figures = [[found.per_class[place].f1 for _, found in evaluated] for place in range(len(classes))]
    order = sorted(
        range(len(classes)), key=lambda place: min((f1 for f1 in figures[place] if f1 is not None), default=2)
    )
    rows = [
        (
            classes[place],
            str(evaluated[0][1].per_class[place].support),
            *("n/a" if f1 is None else f"{f1:.3f}" for f1 in figures[place]),
        )
        for place in order[:most]
    ]
    what = "label" if entries[evaluated[0][0] - 1].row.multi_label else "class"
    return Table(
        f"F1 of each {what}, the lowest first" + (f" ({most} of {len(classes)})" if len(classes) > most else ""),
        (what, "images", *(entries[number - 1].name for number, _ in evaluated)),
        tuple(rows),
        across=(None, None, *(number for number, _ in evaluated)),
    )


def machines(sources: Sequence[Source]) -> Iterator[Table]:
    """Facts of each machine, and its conditions before and after."""
    names = machine_names([source.report for source in sources])
    for source, name in zip(sources, names, strict=True):
        report = source.report
        yield Table(
            f"{name} ({source.file})", ("fact", "value"), tuple(report.machine.items()), words=("value",), long=True
        )
        before, after = dict(_conditions(report.before)), dict(_conditions(report.after))
        rows = [(key, before.get(key, "n/a"), after.get(key, "n/a")) for key in dict.fromkeys([*before, *after])]
        yield Table(f"{name}: conditions", ("condition", "before", "after"), tuple(rows))


def _conditions(found: Conditions) -> Iterator[tuple[str, str]]:
    for field in fields(found):
        value = getattr(found, field.name)
        if isinstance(value, dict):
            yield from ((f"{zone} °C", f"{degrees:.1f}") for zone, degrees in value.items())
        elif value is not None:
            yield field.name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value)


def gates(compared: Compared) -> Table | None:
    """Those of this comparison, then those of each bench itself; the failed ones come first."""
    found = [(gate, gate.row) for gate in compared.gates]
    for source in compared.sources:
        found += [(gate, f"{gate.row} ({source.file})") for gate in source.report.gates]
    rows = [
        (gate.expression, gate.verdict, row, gate.line.removeprefix(f"{gate.expression}: {gate.row}: "))
        for gate, row in sorted(found, key=lambda each: _SEVERITY[each[0].verdict])
    ]
    headings = ("fails if", "verdict", "row", "found")
    return Table("Gates", headings, tuple(rows), words=headings) if rows else None


def settings(sources: Sequence[Source]) -> Table:
    """How each report was measured."""
    rows = [
        (
            source.file,
            found.profile,
            ", ".join(map(str, found.batch_sizes)),
            ", ".join(map(str, found.threads)),
            str(found.rounds),
            str(found.pairs),
            found.device,
            _aa_ratio(source),
        )
        for source in sources
        for found in (source.report.settings,)
    ]
    headings = ("report", "profile", "batch", "threads", "rounds", "calls a round", "device", "A/A ratio [95 %]")
    return Table("How it was measured", headings, tuple(rows), words=("profile", "device"))


def speed_caption(sources: Sequence[Source]) -> str:
    """At which batch size and number of threads rows are compared."""
    wheres = {(found.batch_sizes[0], found.threads[0]) for each in sources for found in (each.report.settings,)}
    listed = [
        f"batch {batch}, {threads} {'thread' if threads == 1 else 'threads'}" for batch, threads in sorted(wheres)
    ]
    return f"Pixels to logits, {'; '.join(listed)}"


def _aa_ratio(source: Source) -> str:
    """The A/A run: the ratio of one bundle to itself, below which no difference is shown."""
    wanted = source.report.settings
    for each in source.report.same_against_same:
        if (each.stage, each.batch, each.threads) == ("infer", wanted.batch_sizes[0], wanted.threads[0]):
            return f"{each.ratio:.3f} [{each.interval.low:.3f}, {each.interval.high:.3f}]"
    return "n/a"


def cautions(sources: Sequence[Source]) -> Table | None:
    """What distorts or limits the figures, with what to do."""
    rows = [
        (source.file, each.row or "all", each.found, each.advice)
        for source in sources
        for each in source.report.cautions
    ]
    headings = ("report", "row", "found", "what to do")
    return Table("Warnings, and what to do", headings, tuple(rows), words=headings) if rows else None


def origins(compared: Compared) -> Iterator[Table]:
    """The command of each report, and the hashes of reports, data and bundles."""
    given = [*compared.sources, *((compared.baseline,) if compared.baseline else ())]
    reports = [
        (each.file, each.report.command, each.report.created_utc, each.report.edgeclf, each.sha256) for each in given
    ]
    headings: tuple[str, ...] = ("file", "command", "measured", "edgeclf", "SHA-256")
    yield Table("Reports", headings, tuple(reports), words=headings, long=True)
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
    headings = ("row", "backbone", "target", "weights", "engine", "digest")
    yield Table("Bundles", headings, tuple(bundles), words=headings, long=True)
    data = [
        (found.name, found.split, str(len(found.images)), str(len(found.classes)), found.digest)
        for source in compared.sources
        if (found := source.report.data) is not None
    ]
    if data:
        headings = ("name", "split", "images", "classes", "digest")
        yield Table("Data", headings, tuple(dict.fromkeys(data)), words=("split", "digest"), long=True)
