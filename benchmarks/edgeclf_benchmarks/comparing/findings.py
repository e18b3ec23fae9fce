"""What a comparison comes to, in sentences, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.comparing.columns import comparison_of, milliseconds
from edgeclf_benchmarks.comparing.compare import Entry, Source
from edgeclf_benchmarks.measuring.report import Gate


def sentences(sources: Sequence[Source], entries: Sequence[Entry], gates: Sequence[Gate]) -> tuple[str, ...]:
    """The verdict: gates, what failed, the best of each machine, and what the reports can't say."""
    return (*_gates(gates), *_failures(entries), *_best(entries), *_limits(sources))


def as_good(entry: Entry) -> bool:
    """Whether nothing speaks against it: proven, timed, and its reference or not worse than it."""
    parity = entry.row.parity
    return entry.proven and entry.latency() is not None and (parity is None or parity.verdict == "pass")


def p50_of(entry: Entry) -> float:
    """For sorting; without a latency it comes last."""
    found = entry.latency()
    return float("inf") if found is None else found.p50_ms


def _gates(gates: Sequence[Gate]) -> Iterator[str]:
    if not gates:
        return
    failed = [each for each in gates if each.verdict == "fail"]
    open_ = sum(each.verdict == "inconclusive" for each in gates)
    unsettled = f"; {open_} can't be settled" if open_ else ""
    if failed:
        yield f"Gates: {len(failed)} of {len(gates)} failed{unsettled}. First: {failed[0].line}."
    else:
        yield f"Gates: none of {len(gates)} failed{unsettled}."


def _failures(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.row.proof is not None and not entry.proven:
            why = "; ".join(entry.row.proof.reasons) or "its answers differ"
            yield f"{entry.name} is not proven on its machine, and was not timed: {why}."
        elif entry.row.parity is not None and entry.row.parity.verdict == "fail":
            yield f"{entry.name} is worse than {entry.row.parity.reference}: {entry.row.parity.reason}."
        elif entry.row.parity is not None and entry.row.parity.verdict == "inconclusive":
            yield f"{entry.name} may be as good as {entry.row.parity.reference}, or not: {entry.row.parity.reason}."
        spoilt = entry.row.robustness
        if spoilt is not None and spoilt.verdict == "fail":
            yield f"{entry.name} is worse than {entry.report.reference} where images are spoilt: {spoilt.reason}."


def _best(entries: Sequence[Entry]) -> Iterator[str]:
    for machine in dict.fromkeys(entry.machine for entry in entries):
        fit = sorted((each for each in entries if each.machine == machine and as_good(each)), key=p50_of)
        if not fit:
            yield f"On {machine} no row was both timed and as good as its reference."
            continue
        yield _best_sentence(fit, machine)


def _best_sentence(fit: Sequence[Entry], machine: str) -> str:
    best = fit[0]
    figures = [milliseconds(p50_of(best))]
    if best.row.evaluation is not None:
        figures.append(f"top-1 {best.row.evaluation.top1:.3f}")
    found = comparison_of(best)
    if found is not None and found.verdict == "faster":
        figures.append(f"{1 / found.ratio:.2f} times as fast as {found.base}")
    elif found is not None:
        figures.append(f"{found.verdict} against {found.base}" if found.verdict == "slower" else found.verdict)
    ties = [each.row.name for each in fit[1:] if _overlap(best, each)]
    alike = f" Not told apart from it: {', '.join(ties)}." if ties else ""
    known = "Fastest of those as good as the reference" if best.row.evaluation is not None else "Fastest"
    return f"{known} on {machine}: {best.row.name}, {', '.join(figures)}.{alike}"


def _overlap(one: Entry, other: Entry) -> bool:
    first, second = one.latency(), other.latency()
    if first is None or second is None or first.p50_interval_ms is None or second.p50_interval_ms is None:
        return False
    return second.p50_interval_ms.low <= first.p50_interval_ms.high


def _limits(sources: Sequence[Source]) -> Iterator[str]:
    for source in sources:
        report = source.report
        if not report.complete:
            yield f"{source.file} is incomplete: its bench was interrupted."
        if report.data is None:
            yield f"{source.file} measured latency alone, and says nothing of accuracy."
        elif report.data.selected_on:
            yield f"{source.file} has validation images, which models may have been chosen on."
    references = {source.report.row(source.report.reference).digest for source in sources}
    if len(references) > 1:
        yield "The reports have different references: parity and ratios hold within each report only."
    settings = {(each.report.settings.batch_sizes[0], each.report.settings.threads[0]) for each in sources}
    if len(settings) > 1:
        yield "The reports have different batch sizes or threads: compare latencies with care."
