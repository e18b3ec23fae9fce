"""The findings of a comparison in sentences, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from edgeclf_benchmarks.comparing.columns import milliseconds
from edgeclf_benchmarks.comparing.compare import Entry, Finding, Source
from edgeclf_benchmarks.comparing.regression import incomparable, unpaired
from edgeclf_benchmarks.measuring.report import Gate
from edgeclf_runtime.metrics.rounding import significant

_MOST_SENTENCES = 3


def findings(
    sources: Sequence[Source], entries: Sequence[Entry], gates: Sequence[Gate], baseline: Source | None = None
) -> tuple[Finding, ...]:
    """The verdict: gates, what failed, the best of each machine, and the limits of the reports."""
    return (
        *_gates(gates),
        *_own_gates(sources),
        *_failures(entries),
        *_best(entries),
        *unpaired(entries, baseline),
        *incomparable(entries, baseline),
        *_limits(sources),
    )


def as_good(entry: Entry) -> bool:
    """Whether it can be deployed: a bundle, proven, timed, and its reference or shown to be as good as that."""
    parity = entry.row.parity
    return _deployable(entry) and (parity is None or parity.verdict == "pass")


def unproven_faster(entries: Sequence[Entry], best: Entry) -> list[Entry]:
    """Bundles that are faster than the best, with too few images to show that they are as good. The fastest first."""
    found = (each for each in entries if _deployable(each) and p50_of(each) < p50_of(best) and _is_open(each))
    return sorted(found, key=p50_of)


def missing_images(entry: Entry) -> str:
    """How many more images would settle an inconclusive parity: "240 more images …"."""
    parity = entry.row.parity
    more = None if parity is None else parity.more_images
    if more is None:
        return "more images would not settle it"
    return f"{more:,} more {'image' if more == 1 else 'images'} of this kind would settle it"


def _deployable(entry: Entry) -> bool:
    return entry.row.kind == "bundle" and entry.proven and entry.latency() is not None


def _is_open(entry: Entry) -> bool:
    return entry.row.parity is not None and entry.row.parity.verdict == "inconclusive"


def accuracy_of(entry: Entry) -> str | None:
    """ "top-1 0.912", or "mAP 0.912" where images have several labels; None: not known."""
    found = None if entry.row.evaluation is None else entry.row.evaluation.main_figure
    return None if found is None or found.value is None else f"{found.name} {found.value:.3f}"


def p50_of(entry: Entry) -> float:
    """For sorting; without a latency it comes last."""
    found = entry.latency()
    return float("inf") if found is None else found.p50_ms


def _gates(gates: Sequence[Gate]) -> Iterator[Finding]:
    if not gates:
        return
    failed = [each for each in gates if each.verdict == "fail"]
    open_ = sum(each.verdict == "inconclusive" for each in gates)
    unsettled = f"; {open_} can't be settled" if open_ else ""
    if failed:
        yield Finding("fail", f"Gates: {len(failed)} of {len(gates)} failed{unsettled}. First: {failed[0].line}.")
    else:
        kind: Literal["pass", "inconclusive"] = "inconclusive" if open_ else "pass"
        yield Finding(kind, f"Gates: none of {len(gates)} failed{unsettled}.")


def _own_gates(sources: Sequence[Source]) -> Iterator[Finding]:
    """The failed gates of each bench itself."""
    for source in sources:
        if failed := [each for each in source.report.gates if each.verdict == "fail"]:
            of = f"{len(failed)} of {len(source.report.gates)}"
            yield Finding("fail", f"{source.file}: {of} gates of its bench failed. First: {failed[0].line}.")


def _failures(entries: Sequence[Entry]) -> Iterator[Finding]:
    for entry in entries:
        if entry.row.proof is not None and not entry.proven:
            why = "; ".join(entry.row.proof.reasons) or "its predictions differ"
            yield Finding("fail", f"{entry.name} is not proven on its machine, and was not timed: {why}.")
    parities = [(entry, entry.row.parity) for entry in entries if entry.proven and entry.row.parity is not None]
    failed = [(each.name, parity.reference, parity.reason) for each, parity in parities if parity.verdict == "fail"]
    yield from _against("fail", "worse than {}", failed)
    corrupted = [
        (entry.name, entry.report.reference, entry.row.robustness.reason)
        for entry in entries
        if entry.row.robustness is not None and entry.row.robustness.verdict == "fail"
    ]
    yield from _against("fail", "worse than {} on corrupted images", corrupted)
    doubt = [
        (each.name, parity.reference, parity.reason) for each, parity in parities if parity.verdict == "inconclusive"
    ]
    yield from _against("inconclusive", "perhaps as good as {}, perhaps not", doubt)


def _against(
    kind: Literal["fail", "inconclusive"], what: str, rows: Sequence[tuple[str, str, str]]
) -> Iterator[Finding]:
    """From name, reference and reason: a sentence per row, or one for all rows of a reference where there are many."""
    for reference in dict.fromkeys(reference for _, reference, _ in rows):
        found = [(name, reason) for name, other, reason in rows if other == reference]
        verdict = what.format(reference)
        if len(found) <= _MOST_SENTENCES:
            yield from (Finding(kind, f"{name} is {verdict}: {reason}.") for name, reason in found)
        else:
            yield Finding(kind, f"{len(found)} rows are {verdict}: {', '.join(name for name, _ in found)}.")


def _best(entries: Sequence[Entry]) -> Iterator[Finding]:
    for machine in dict.fromkeys(entry.machine for entry in entries):
        here = [each for each in entries if each.machine == machine]
        fit = sorted(filter(as_good, here), key=p50_of)
        if not fit:
            yield Finding("fail", f"On {machine} no bundle was both timed and as good as its reference.")
            continue
        yield Finding("pass", _best_sentence(fit, machine))
        if faster := unproven_faster(here, fit[0]):
            listed = "; ".join(f"{each.name} ({milliseconds(p50_of(each))}: {missing_images(each)})" for each in faster)
            yield Finding("inconclusive", f"Faster, but not shown to be as good as the reference: {listed}.")


def _best_sentence(fit: Sequence[Entry], machine: str) -> str:
    best = fit[0]
    figures = [milliseconds(p50_of(best))]
    if (shown := accuracy_of(best)) is not None:
        figures.append(shown)
    found = best.comparison()
    if found is not None and found.verdict == "faster":
        figures.append(f"{significant(1 / found.ratio)} x faster than {found.base}")
    elif found is not None and found.verdict == "slower":
        figures.append(f"{significant(found.ratio)} x slower than {found.base}")
    elif found is not None:
        figures.append(f"no difference to {found.base} shown")
    ties = [each.row.name for each in fit[1:] if overlap(best, each)]
    alike = f" Its p50 interval overlaps with that of {', '.join(ties)}." if ties else ""
    known = (
        "Fastest of the bundles shown to be as good as the reference" if best.row.evaluation is not None else "Fastest"
    )
    itself = " (the reference itself)" if best.is_reference and best.row.evaluation is not None else ""
    return f"{known} on {machine}: {best.row.name}{itself}, {', '.join(figures)}.{alike}"


def overlap(one: Entry, other: Entry) -> bool:
    """Whether the interval of the slower's p50 reaches into that of the faster, `one`."""
    first, second = one.latency(), other.latency()
    if first is None or second is None or first.p50_interval_ms is None or second.p50_interval_ms is None:
        return False
    return second.p50_interval_ms.low <= first.p50_interval_ms.high


def _limits(sources: Sequence[Source]) -> Iterator[Finding]:
    for source in sources:
        report = source.report
        if not report.complete:
            yield Finding("note", f"{source.file} is incomplete: its bench was interrupted.")
        if report.data is None:
            yield Finding("note", f"{source.file} measured latency alone, and has no accuracy.")
        elif report.data.selected_on:
            yield Finding("note", f"{source.file} has validation images that were used to select models.")
    references = {source.report.row(source.report.reference).digest for source in sources}
    if len(references) > 1:
        yield Finding("note", "The reports have different references: parity and ratios hold within each report only.")
    settings = {(each.report.settings.batch_sizes[0], each.report.settings.threads[0]) for each in sources}
    if len(settings) > 1:
        yield Finding("note", "The reports have different batch sizes or threads: compare latencies with care.")
