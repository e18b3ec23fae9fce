"""Which measured bundle to deploy: the fastest that keeps all limits and is shown to be as good as the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_benchmarks.comparing.columns import megabytes, milliseconds
from edgeclf_benchmarks.comparing.compare import Entry, entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import accuracy_of, as_good, missing_images, overlap, p50_of, unproven_faster
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation


@dataclass(frozen=True, slots=True)
class Limits:
    """What a row must keep: p50 of inference, top-1 as a share, size of the bundle; None: no limit."""

    max_ms: float | None = None
    min_top1: float | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        if self.min_top1 is not None and not 0 <= self.min_top1 <= 1:
            raise UsageError(f"--min-top1 wants a share of 0 to 1, found {self.min_top1:g}; 93 % is 0.93")
        for option, value in (("--max-ms", self.max_ms), ("--max-mb", self.max_mb)):
            if value is not None and not value > 0:
                raise UsageError(f"{option} wants a number above 0, found {value:g}")


@dataclass(frozen=True, slots=True)
class Choice:
    """The pick of one machine (None: nothing fits), why, and each row left out with its reasons.

    `unproven`: what is faster and keeps the limits, too, but on too few images to show that it is as good as the
    reference, with how many more would settle it.
    """

    machine: str
    pick: str | None
    reason: str
    left_out: dict[str, str]
    unproven: dict[str, str] = field(default_factory=dict)


def recommend(reports: Sequence[str | Path], limits: Limits = Limits()) -> tuple[Choice, ...]:
    """One choice for each machine of the reports of `bench`; one without a pick is not raised.

    Raises DataError for a report that can't be read, or can't be compared with the others.
    """
    return choose(entries_of(read_sources([Path(each) for each in reports])), limits)


def choose(entries: Sequence[Entry], limits: Limits) -> tuple[Choice, ...]:
    """One choice a machine: the fastest proven bundle within the limits, taking the bad end of each interval."""
    return tuple(
        _choose(machine, [each for each in entries if each.machine == machine], limits)
        for machine in dict.fromkeys(entry.machine for entry in entries)
    )


def _choose(machine: str, entries: Sequence[Entry], limits: Limits) -> Choice:
    faults = {entry.name: "; ".join(_faults(entry, limits)) for entry in entries}
    fit = sorted((each for each in entries if not faults[each.name]), key=p50_of)
    left_out = {name: fault for name, fault in faults.items() if fault}
    if not fit:
        return Choice(machine, None, "no measured row keeps all limits", left_out)
    best = next(filter(as_good, fit), fit[0])  # where none is shown to be as good: the fastest, with its doubts
    unproven = {
        each.name: f"faster ({milliseconds(p50_of(each))}), unproven: {missing_images(each)}"
        for each in unproven_faster(fit, best)
    }
    parts = [f"p50 {milliseconds(p50_of(best))}"]
    if (shown := accuracy_of(best)) is not None:
        parts.append(shown)
    if best.row.bundle_bytes is not None:
        parts.append(megabytes(best))
    rivals = [each for each in fit if each is not best and each.name not in unproven]
    others = _among(rivals, bool(unproven))
    reason = "; ".join([f"{others}: {', '.join(parts)}", *_doubts(best, rivals)])
    return Choice(machine, best.name, reason, left_out, unproven)


def _among(rivals: Sequence[Entry], has_faster: bool) -> str:
    """The number of bundles that it is the fastest of."""
    which = "keep all limits and are shown to be as good as the reference" if has_faster else "keep all limits"
    if rivals:
        return f"the fastest of {len(rivals) + 1} bundles that {which}"
    return f"the only bundle that {which.replace('keep', 'keeps').replace(' are ', ' is ')}"


def _doubts(best: Entry, others: Sequence[Entry]) -> Iterator[str]:
    """What was not shown about the pick: no reason to leave it out, but worth knowing."""
    parity, robustness = best.row.parity, best.row.robustness
    if parity is not None and parity.verdict == "inconclusive":
        yield f"not shown to be as good as {parity.reference}: {parity.reason}"
    if robustness is not None and robustness.verdict == "fail":
        yield f"worse than {best.report.reference} on corrupted images: {robustness.reason}"
    if alike := [each.name for each in others if overlap(best, each)]:
        yield f"its p50 interval overlaps with that of {', '.join(alike)}"


def _faults(entry: Entry, limits: Limits) -> Iterator[str]:
    """Why a row is not picked. A limit must be kept by the whole interval."""
    row, latency = entry.row, entry.latency()
    if row.kind != "bundle":
        yield "no bundle, so nothing to deploy"
        return
    if not entry.proven:
        yield "not proven on this machine"
    elif latency is None:
        yield "latency was not measured"
    elif limits.max_ms is not None:
        worst = latency.p50_interval_ms.high if latency.p50_interval_ms else latency.p50_ms
        if worst > limits.max_ms:
            yield f"p50 may be {worst:.2f} ms, above {limits.max_ms:g}"
    if row.parity is not None and row.parity.verdict == "fail":
        yield f"worse than {row.parity.reference} ({row.parity.change_points:+.2f} points)"
    if limits.min_top1 is not None:
        yield from _accuracy_fault(entry, limits.min_top1)
    if limits.max_mb is not None and (row.bundle_bytes is None or row.bundle_bytes > limits.max_mb * 1e6):
        yield f"{megabytes(entry)}, above {limits.max_mb:g} MB"


def _accuracy_fault(entry: Entry, least: float) -> Iterator[str]:
    found = entry.row.evaluation
    if found is None:
        yield "accuracy was not measured (bench with --data)"
        return
    if isinstance(found, MultiLabelEvaluation):
        yield "it predicts several labels an image, so it has no top-1"
        return
    worst = found.top1_interval.low if found.top1_interval else found.top1
    if worst < least:
        yield f"top-1 is {found.top1:.3f}, and may be {worst:.3f}, below {least:g}"
