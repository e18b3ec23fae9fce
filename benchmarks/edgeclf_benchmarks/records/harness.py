"""What the harness itself shows: a bundle against itself, run after run, and what a timed call costs.

    python -m edgeclf_benchmarks.records.harness BUNDLE... -o benchmarks/results/harness.json

In each run a bundle is timed against itself three ways: in the turns that `edgeclf bench` takes, call by call, and one
block after the other. The ratio of a perfect harness is 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.measuring.contenders import BundleContender, Opened
from edgeclf_benchmarks.measuring.machine_state import read_conditions
from edgeclf_benchmarks.measuring.rounds import Plan, Record, measure_rounds
from edgeclf_benchmarks.measuring.speed import ratio_of
from edgeclf_benchmarks.measuring.timing import FEWEST_WARM_UP, call_ms
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import to_json

_BLOCK_CALLS = 100


def measure(bundle: Bundle, options: SessionOptions, runs: int, plan: Plan) -> dict[str, Any]:
    """Ratios of a bundle to itself, one a run, by each way of timing; and how often a run's interval leaves out 1."""
    contender = BundleContender(bundle.name, bundle)
    files = [bundle.read(golden.image) for golden in bundle.manifest.golden.images]
    ratios: dict[str, list[float]] = {"turns": [], "call_by_call": [], "blocks": []}
    alarms = 0
    for run in range(runs):
        record, origin = Record(1, options.thread_count), time.perf_counter()
        pair = (contender, contender.again())
        measure_rounds(pair, files, ("infer",), options, plan, record, origin=origin)
        own, again = (record.taken[each.name, "infer"].rounds_ms for each in pair)
        found = ratio_of(again, own, seed=run)
        if found is None:
            raise SystemExit("two rounds or more are needed; give --rounds")
        ratios["turns"].append(found.value)
        alarms += not found.interval.low <= 1 <= found.interval.high
        for name, ratio in _simpler_ways(contender, options, files).items():
            ratios[name].append(ratio)
        print(f"{bundle.name}, run {run + 1}: {found.value:.4f}", file=sys.stderr)
    return {
        "bundle": bundle.name,
        "threads": options.thread_count,
        "rounds": plan.rounds,
        "ratio_to_itself": {name: spread(found, 4) for name, found in ratios.items()},
        "intervals_without_1": alarms,
    }


def _simpler_ways(contender: BundleContender, options: SessionOptions, files: list[bytes]) -> dict[str, float]:
    """Ratios of two sessions of one bundle, timed call by call and in blocks."""
    first, second = contender.open(options), contender.open(options)
    try:
        batch = first.prepare(files[:1])
        for opened in (first, second):
            for _ in range(FEWEST_WARM_UP):
                opened.infer(batch)
        pairs = [(_one(first, batch), _one(second, batch)) for _ in range(_BLOCK_CALLS)]
        blocks = [statistics.median(_one(opened, batch) for _ in range(_BLOCK_CALLS)) for opened in (first, second)]
    finally:
        first.close()
        second.close()
    return {
        "call_by_call": statistics.median(later / earlier for earlier, later in pairs),
        "blocks": blocks[1] / blocks[0],
    }


def _one(opened: Opened, batch: Any) -> float:
    return call_ms(lambda: opened.infer(batch))


def timer_cost_ns(calls: int = 100_000) -> float:
    """What the timer adds to every sample: the median time of a call that does nothing."""
    return 1e6 * statistics.median(call_ms(lambda: None) for _ in range(calls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run")
    given = parser.parse_args()
    plan = Plan(given.rounds, 5, given.seconds, warm_up_s=3.0)
    opened = [Bundle.open(path) for path in given.bundles]
    figures = {
        "conditions": to_json(read_conditions()),
        "timer_cost_ns": round(timer_cost_ns(), 1),
        "bundles": [
            measure(bundle, SessionOptions(threads=threads), given.runs, plan)
            for threads in given.threads
            for bundle in opened
        ],
    }
    write_record(given.output, "edgeclf_benchmarks.records.harness", figures)


if __name__ == "__main__":
    main()
