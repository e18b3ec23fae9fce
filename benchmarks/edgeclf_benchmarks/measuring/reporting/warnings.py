"""What limits or distorts the figures of a bench, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeclf_benchmarks.measuring.machine_state import Caution, Conditions, cautions_after, cautions_before
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.measuring.state import BenchState


def cautions_of(state: BenchState, rows: Sequence[Row], after: Conditions) -> Iterator[Caution]:
    """All warnings of a report, those about the machine first."""
    yield from cautions_before(state.before, state.options.thread_counts)
    busy = state.records[0].busy_cores if state.records else []
    yield from cautions_after(state.before, after, sum(busy) / len(busy) if busy else None)
    for target, why in state.without_yardstick.items():
        found = f"no yardstick ran on the engine of {target} ({why})"
        yield Caution("yardstick", found, "compare uses numpy's instead, which is less informative")
    if state.stopped is not None:
        yield Caution("interrupted", "it was interrupted, and this is what was measured until then", "measure again")
    if state.reference.bundle.manifest.task != "classify":
        yield Caution(
            "data",
            "encoders: latency alone was measured, no accuracy",
            "evaluate them with `edgeclf embed` and a search",
        )
    elif state.data is None:
        yield Caution(
            "data", "no labelled images: latency alone was measured, accuracy and parity were not", "give --data DIR"
        )
    elif state.data.left_out:
        yield Caution(
            "images",
            f"{len(state.data.images)} images were drawn from {len(state.data.images) + state.data.left_out}",
            "--images all takes all of them",
        )
    if state.unreadable:
        path, reason = next(iter(state.unreadable.items()))
        yield Caution(
            "unreadable",
            f"{len(state.unreadable)} images can't be read, such as {path} ({reason})",
            "fix or remove them",
        )
    if state.corrupted is not None and state.corrupted.places and not any(row.robustness for row in rows):
        yield Caution(
            "robustness",
            f"none of the {len(state.corrupted.places)} corrupted images has a label, so there is no mAP on them",
            "give more --corrupted-images",
        )
    for record in state.records[:1]:
        if 0 < record.rounds < state.rounds and state.stopped is None:
            yield Caution(
                "samples", f"{record.rounds} rounds of {state.rounds} fitted into the time", "give --rounds, and time"
            )
    for row in rows:
        yield from _cautions_of(row)


def _cautions_of(row: Row) -> Iterator[Caution]:
    if row.proof is not None and row.proof.verdict == "fail":
        found = f"it fails its proof on this machine, and was not timed: {'; '.join(row.proof.reasons)}"
        yield Caution("proof", found, "export it again", row.name)
    if row.proof is not None and row.proof.verdict == "inconclusive":
        found = f"its proof on this machine is inconclusive: {'; '.join(row.proof.reasons)}"
        yield Caution("proof", found, "export it with more --proof-data", row.name)
    robustness, parity = row.robustness, row.parity
    if robustness is not None and robustness.verdict == "fail":
        worst = robustness.worst
        where = "" if worst is None else f"; most at {worst.name} {worst.level}: {worst.change_points:+.1f}"
        clean = " though it is as good on clean ones" if parity is not None and parity.verdict == "pass" else ""
        found = f"{robustness.reason}{clean}{where}"
        yield Caution("robustness", found, "train with a stronger --augment, or take a finer precision", row.name)
    for latency in row.latencies:
        what = f"{latency.stage}, batch {latency.batch}, threads {latency.threads}"
        if latency.slowed:
            found = f"{what}: {100 * (latency.drift - 1):.0f} % slower at the end than at the start"
            yield Caution("slowed", found, "cool the machine, stop other work", row.name)
        warmed = latency.warm_up
        if warmed is not None and not warmed.settled and latency.stage == "infer":
            found = f"{what}: not stable after {warmed.seconds:.0f} s of warm-up"
            yield Caution("warm-up", found, "stop other work", row.name)
