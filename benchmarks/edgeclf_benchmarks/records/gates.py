"""How often gates across reports give false alarms and find real slowdowns: pairs of reports under load.

    python -m edgeclf_benchmarks.records.gates BUNDLE... -o benchmarks/results/gates.json

Every report is measured by a process of its own for a few seconds, beside a number of processes that only compute. Each
is compared with the one before it, and with one of each other load: p50_ratio>1.05 must fail for none. Then reports of
the same bundles whose every call takes 15 % longer are compared with those without: there it must fail.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.compare import Entry, Source, entries_of
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule
from edgeclf_benchmarks.comparing.latency_change import BETWEEN_RUNS, Times, latency_change
from edgeclf_benchmarks.measuring.contenders import BundleContender, Contender, Opened
from edgeclf_benchmarks.measuring.machine_state import BUSY_SHARE, read_conditions
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.report import Report, read_report, write_report
from edgeclf_benchmarks.measuring.reporting.builder import report_of
from edgeclf_benchmarks.measuring.rounds import Plan, Record, measure_rounds
from edgeclf_benchmarks.measuring.speed import speed_of
from edgeclf_benchmarks.measuring.state import BenchState, line_up
from edgeclf_benchmarks.measuring.yardstick import usable_yardsticks
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle

_MODULE = "edgeclf_benchmarks.records.gates"
_RULE = parse_rule("p50_ratio>1.05")
_BUSY = "while True: pass"
_QUIET_SAMPLES = 4  # half a second each
_SEVERITY = ("fail", "inconclusive", "pass")


@dataclass(frozen=True, slots=True)
class Slowed:
    """A bundle whose every call takes `factor` times as long: it waits busily after each inference."""

    inner: BundleContender
    factor: float

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def largest_batch(self) -> int | None:
        return self.inner.largest_batch

    def open(self, options: SessionOptions) -> Opened:
        opened = self.inner.open(options)

        def infer(batch: Any) -> NDArray[np.floating]:
            begun = time.perf_counter()
            output = opened.infer(batch)
            end = begun + self.factor * (time.perf_counter() - begun)
            while time.perf_counter() < end:
                pass
            return output

        return replace(opened, infer=infer)


def measure(bundles: Sequence[Bundle], threads: int, seconds: float, factor: float) -> Report:
    """A short report: rounds with yardsticks alone, no proof, no cold start. `factor` slows every row down."""
    options = BenchOptions(profile="quick", threads=(threads,), plain_loop=False)
    parts, reference = line_up(bundles, None, options)
    state = BenchState(options, parts, reference, None, read_conditions(), time.perf_counter())
    state.yardsticks, state.without_yardstick = usable_yardsticks(
        [each.manifest.target for each in bundles], options.first
    )
    record = Record(1, threads)
    state.records.append(record)
    rows: list[Contender] = []
    for part in parts:
        assert isinstance(part.contender, BundleContender)
        part.engine = {"engine": part.bundle.manifest.target}
        rows.append(Slowed(part.contender, factor) if factor != 1 else part.contender)
        if part is reference:
            again = part.contender.again()
            state.reference_again = again.name
            rows.append(Slowed(again, factor) if factor != 1 else again)
    files = [reference.bundle.read(golden.image) for golden in reference.bundle.manifest.golden.images]
    measure_rounds(
        rows,
        files,
        ("infer",),
        options.first,
        Plan(state.rounds, state.profile.fresh_rounds, seconds, warm_up_s=1.0, seed=time.time_ns() % 2**32),
        record,
        origin=state.started,
        yardsticks=state.yardsticks,
    )
    return report_of(state, "edgeclf bench")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Runs `count` processes that compute without end."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def await_quiet(seconds: float) -> None:
    """Returns once others keep few cores busy, or after so many seconds."""
    end, calm = time.monotonic() + seconds, 0
    while time.monotonic() < end and calm < _QUIET_SAMPLES:
        found = read_conditions()
        calm = calm + 1 if (found.busy_cores or 0.0) <= BUSY_SHARE * found.cores else 0


def measured(
    paths: Sequence[str], given: argparse.Namespace, place: Path, *, factor: float = 1.0, quiet: bool = False
) -> Report:
    """The report of a fresh process, or the one that is there already."""
    if place.exists():
        return read_report(place)
    if quiet:
        await_quiet(given.patience)
    options = ["--report", str(place), "--threads", str(given.threads), "--seconds", str(given.seconds)]
    subprocess.run([sys.executable, "-m", _MODULE, *paths, *options, "--factor", str(factor)], check=True)
    return read_report(place)


def compared(new: Report, old: Report) -> list[dict[str, Any]]:
    """For each row: the gate's verdict, and the ratios that it is made of."""
    now, before = (entries_of([Source(name, name, each)]) for name, each in (("new", new), ("old", old)))
    verdicts = {gate.row: gate.verdict for gate in check_gates([_RULE], now, before)}
    return [_row(entry, older, verdicts[entry.name]) for entry, older in zip(now, before, strict=True)]


def _row(entry: Entry, older: Entry, verdict: str) -> dict[str, Any]:
    change = latency_change(entry, older)
    assert change is not None
    return {
        "row": entry.name,
        "verdict": verdict,
        "clock": round(change.clock.value, 4),
        "by_yardstick": None if change.proportion is None else round(change.proportion.value, 4),
        "yardstick": None if change.machine is None else round(change.machine, 4),
        "fails_by_clock_alone": _fails_by_clock(change.clock),
        "why": change.incomparable,
    }


def _fails_by_clock(clock: Times) -> bool:
    """Whether the gate would fail without the yardstick, whatever other processes did."""
    if clock.interval is None:
        return False
    return speed_of(clock.value, clock.interval, clock.rounds, clock.noise, _RULE.limit) == "slower"


def summed_up(pairs: Sequence[tuple[Report, Report]]) -> dict[str, Any]:
    """Verdicts of pairs (new, old), pair by pair the worst of its rows, and how far ratios spread."""
    rows = [compared(new, old) for new, old in pairs]
    flat = [row for each in rows for row in each]
    worst = [next(word for word in _SEVERITY if word in [row["verdict"] for row in each]) for each in rows]
    return {
        "pairs": len(pairs),
        "verdicts": dict(Counter(worst)),
        "ratio_by_clock": spread([row["clock"] for row in flat]),
        "ratio_by_yardstick": spread([row["by_yardstick"] for row in flat]),
        "yardstick_ratio": spread([row["yardstick"] for row in flat]),
        "pairs_that_fail_by_clock_alone": sum(any(row["fails_by_clock_alone"] for row in each) for each in rows),
        "rows": flat,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=4.0, help="of rounds in each report")
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 2, 8], help="busy processes beside it")
    parser.add_argument("--pairs", type=int, default=20, help="without a change, at each load")
    parser.add_argument("--slowed", type=int, default=10, help="pairs with a slowdown")
    parser.add_argument("--slowdown", type=float, default=1.15)
    parser.add_argument("--patience", type=float, default=0.0, help="seconds to wait for a quiet machine, each report")
    parser.add_argument("--reports", type=Path, help="keep the reports in this folder, and take those already there")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--factor", type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.report is not None:
        bundles = [Bundle.open(path) for path in given.bundles]
        write_report(measure(bundles, given.threads, given.seconds, given.factor), given.report, force=True)
        return
    if given.output is None:
        parser.error("-o FILE is required: the file of the record")
    with tempfile.TemporaryDirectory() as folder:
        write_record(given.output, _MODULE, figures(given, given.reports or Path(folder)))


def figures(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All reports, and the verdicts of their pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    series: dict[int, list[Report]] = {}
    slowed: list[Report] = []
    for load in given.loads:
        with busy_processes(load):
            places = [folder / f"load{load}-{number}.json" for number in range(given.pairs + 1)]
            series[load] = [measured(given.bundles, given, place, quiet=not load) for place in places]
        print(f"{load} busy processes: {len(series[load])} reports", file=sys.stderr)
        if load == given.loads[0]:
            places = [folder / f"slowed-{number}.json" for number in range(given.slowed)]
            slowed = [measured(given.bundles, given, place, factor=given.slowdown, quiet=True) for place in places]
    quiet = series[given.loads[0]]
    found: dict[str, Any] = {"threads": given.threads, "seconds": given.seconds, "gate": _RULE.expression}
    found["no_change"] = {
        str(load): {"busy_cores": _busy(reports), **summed_up(list(zip(reports[1:], reports[:-1], strict=True)))}
        for load, reports in series.items()
    }
    found["no_change_other_load"] = {
        f"{load} against {other}": summed_up(list(zip(series[load], series[other], strict=True)))
        for load in given.loads
        for other in given.loads
        if load != other
    }
    if not given.loads[0]:
        found["between_runs"] = {"assumed": BETWEEN_RUNS, **every_pair(quiet)}
    if slowed:
        pairs = list(zip(slowed, quiet[-len(slowed) :], strict=True))
        found["slowed"] = {"factor": given.slowdown, "busy_cores": _busy(slowed), **summed_up(pairs)}
    return found


def every_pair(reports: Sequence[Report]) -> dict[str, float | int]:
    """Each row of each report in proportion to the yardstick, over the same row of every other report."""
    rows = [row for new, old in itertools.permutations(reports, 2) for row in compared(new, old)]
    ratios = [row["by_yardstick"] for row in rows]
    return {
        "comparisons": len(rows),
        "alarms": sum(row["verdict"] == "fail" for row in rows),
        "beyond_noise": sum(each > BETWEEN_RUNS for each in ratios),
        "p99": round(float(np.percentile(ratios, 99)), 4),
        "max": round(max(ratios), 4),
    }


def _busy(reports: Sequence[Report]) -> dict[str, float | int]:
    """Cores that others kept busy in the rounds, one mean a report."""
    return spread([sum(each.rounds_busy_cores) / max(1, len(each.rounds_busy_cores)) for each in reports])


if __name__ == "__main__":
    main()
