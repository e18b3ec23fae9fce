"""Backbones on every engine of this machine: exported, proven, and measured by `edgeclf bench`, one backbone at a time.

    python -m edgeclf_benchmarks.records.survey -o benchmarks/results/bench.json

Latency does not depend on the numbers in the weights, so they are random; accuracy is not measured here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.measuring.report import Report, read_report
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record

BACKBONES = ("mobilenetv3_large_100", "mobilenetv2_100", "tf_efficientnet_lite0", "efficientnet_b0", "resnet18")
TARGETS = ("pytorch", "onnx", "openvino")


def measure(backbone: str, folder: Path, options: list[str]) -> dict[str, Any]:
    """The figures of one backbone's rows, and the machine's load meanwhile."""
    targets = [word for target in TARGETS for word in ("-t", target)]
    made = edgeclf("export", "-m", backbone, "--weights", "random", *targets, "-o", "bundles", folder=folder)
    paths = [bundle["path"] for bundle in made["bundles"]]
    place = f"{backbone}.json"
    edgeclf("bench", *paths, *options, "-o", place, folder=folder)
    report = read_report(folder / place)
    return {
        "backbone": backbone,
        "seconds": round(report.seconds, 1),
        "rounds": report.settings.rounds,
        "busy_cores": report.before.busy_cores,
        "cautions": [f"{each.row or 'machine'}: {each.found}" for each in report.cautions if each.about != "data"],
        "floors": {
            f"{each.threads}": round(each.floor, 4) for each in report.same_against_same if each.stage == "infer"
        },
        "rows": [figures_of_row(report, row) for row in report.rows],
    }


def figures_of_row(report: Report, row: Row) -> dict[str, Any]:
    """One row of a report, rounded, with its ratio to the reference."""
    return {
        "row": row.name,
        "target": row.target,
        "kind": row.kind,
        "engine": row.engine,
        "input_px": list(row.input_px),
        "bundle_mb": None if row.bundle_bytes is None else round(row.bundle_bytes / 1e6, 1),
        "cold_start_ms": None if row.cold_start is None else round(row.cold_start.total_ms, 1),
        "peak_memory_mib": None if row.peak_memory_mib is None else round(row.peak_memory_mib, 1),
        "images_per_s": {each.name: round(each.images_per_s, 1) for each in row.scenarios},
        "latency": [
            {
                "stage": each.stage,
                "threads": each.threads,
                "batch": each.batch,
                "samples": each.samples,
                "p50_ms": round(each.p50_ms, 3),
                "p50_interval_ms": None
                if each.p50_interval_ms is None
                else [round(each.p50_interval_ms.low, 3), round(each.p50_interval_ms.high, 3)],
                "p90_ms": each.p90_ms,
                "p99_ms": each.p99_ms,
            }
            for each in row.latencies
        ],
        "against_reference": [
            {
                "stage": each.stage,
                "threads": each.threads,
                "ratio": round(each.ratio, 4),
                "interval": [round(each.interval.low, 4), round(each.interval.high, 4)],
                "verdict": each.verdict,
            }
            for each in report.comparisons
            if each.row == row.name
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--threads", default="1", help="as `edgeclf bench` takes them")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    options = ["--threads", given.threads, *(["--quick"] if given.quick else [])]
    figures = []
    for backbone in given.backbones:
        with tempfile.TemporaryDirectory() as place:
            figures.append(measure(backbone, Path(place), options))
        print(f"{backbone}: {figures[-1]['seconds']} s", file=sys.stderr)
    write_record(given.output, "edgeclf_benchmarks.records.survey", figures)


if __name__ == "__main__":
    main()
