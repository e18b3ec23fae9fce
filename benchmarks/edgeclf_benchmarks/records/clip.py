"""CLIP's image tower on this CPU, engine by engine, against PyTorch eager: one call of each in turn, batch 1, 1 thread.

    edgeclf export -m ViT-B-32 --pretrained random --encoder image -t pytorch -t onnx -t openvino
    edgeclf export -m ViT-B-32 --pretrained random --encoder image -t openvino --precision bf16
    python -m edgeclf_benchmarks.records.clip bundles/ViT-B-32-image-* -o benchmarks/results/clip.json

The bundles may hold random weights: what they cost is the architecture's. PyTorch's fp32 matrix products reach less
than half of what the engines' do on CPUs such as AMD EPYC, so ratios to it flatter transformers; the
milliseconds don't.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.measuring.timing import median_latencies_ms
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle

BASELINE = "pytorch"


def measure_towers(bundles: Sequence[Bundle], threads: int, calls: int, rounds: int) -> list[dict[str, Any]]:
    """For each bundle the spread of its medians, and of its ratio to the PyTorch fp32 bundle of the same round."""
    baseline = find_baseline(bundles)
    taken = [median_latencies_ms(bundles, SessionOptions(threads=threads), calls) for _ in range(rounds)]
    return [
        {
            "bundle": bundle.name,
            "backbone": bundle.manifest.provenance.backbone,
            "target": bundle.manifest.target,
            "weights_precision": bundle.manifest.weights_precision,
            "compute_precision": bundle.manifest.compute_precision,
            "threads": threads,
            "calls_per_round": calls,
            "median_ms": spread([medians[place] for medians in taken]),
            "times_faster_than_pytorch": spread([medians[baseline] / medians[place] for medians in taken]),
        }
        for place, bundle in enumerate(bundles)
    ]


def find_baseline(bundles: Sequence[Bundle]) -> int:
    """Which of them is PyTorch in fp32. Raises SystemExit where none is, or where they are of several models."""
    backbones = {bundle.manifest.provenance.backbone for bundle in bundles}
    if len(backbones) > 1 or {bundle.manifest.task for bundle in bundles} != {"embed-image"}:
        raise SystemExit(f"wanted image encoders of one model, found {', '.join(sorted(backbones))}")
    for place, bundle in enumerate(bundles):
        if bundle.manifest.target == BASELINE and bundle.manifest.compute_precision == "fp32":
            return place
    raise SystemExit("no PyTorch bundle in fp32 to compare with; export one with -t pytorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    opened = [Bundle.open(path) for path in arguments.bundles if not path.endswith(".proofs")]
    figures = measure_towers(opened, arguments.threads, arguments.calls, arguments.rounds)
    for figure in figures:
        ratio, median_ms = figure["times_faster_than_pytorch"]["median"], figure["median_ms"]["median"]
        print(f"{figure['bundle']}: {median_ms} ms, {ratio:.2f} x PyTorch")
    write_record(arguments.output, "edgeclf_benchmarks.records.clip", figures)


if __name__ == "__main__":
    main()
