"""Feeds damaged files to everything that reads what strangers send, and counts what comes of it.

python -m edgeclf_benchmarks.records.fuzz --seconds 3600 --bundle BUNDLE \
    --readers tests/support/readers_to_fuzz.py -o benchmarks/results/fuzz.json

Each input is read in a process with limits of time and memory. A fault is an exception that is not edgeclf's own, a
process that ended, or memory beyond what the reader may take; its input is kept in --faults. With atheris installed
(Apache-2.0; Linux, some Pythons) some inputs follow the coverage of the Python code; the others are random damage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.fuzz.processes import Figures, Given, run_worker
from edgeclf_benchmarks.records.fuzz.readers import MEGAPIXELS, readers
from edgeclf_benchmarks.records.fuzz.worker import LIMIT_S
from edgeclf_benchmarks.records.record import write_record

_IMAGES, _OTHERS, _BY_COVERAGE = 10_000, 1_000, 500  # inputs of a process
_COVERAGE_TURNS = 4  # following coverage is slow: in every fourth turn


def fuzz(given: Given, seconds: float, least_images: int, seed: int, faults: Path) -> dict[str, Any]:
    """Every reader in turn until the time is over and `least_images` images were read, random and by coverage."""
    counted = {name: Figures() for name in readers(given.bundle, given.readers)}
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end or counted["image"].inputs < least_images:
        for name, figures in counted.items():
            count = _IMAGES if name == "image" else _OTHERS
            run_worker(name, given, seed, figures, faults, count=count)
            if find_spec("atheris") and turn % _COVERAGE_TURNS == 0:
                run_worker(name, given, seed, figures, faults, count=_BY_COVERAGE, atheris=True)
            seed += count
        turn += 1
        shown = {name: (each.inputs, sum(each.faults.values())) for name, each in counted.items()}
        print(f"turn {turn}: inputs and faults {shown}", file=sys.stderr)
    return {name: asdict(each) for name, each in counted.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--least-images", type=int, default=0, help="goes on after --seconds until so many were read")
    parser.add_argument("--bundle", type=Path, help="of the target onnx, small; without it no part of bundles is read")
    parser.add_argument("--readers", type=Path, nargs="*", default=[], metavar="FILE", help="Python, of more readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="folder for inputs of faults")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    start = time.monotonic()
    given = Given(arguments.bundle and arguments.bundle.resolve(), tuple(each.resolve() for each in arguments.readers))
    found = fuzz(given, arguments.seconds, arguments.least_images, arguments.seed, arguments.faults)
    limits = {"megapixels": MEGAPIXELS, "seconds_an_input": LIMIT_S}
    figures = {
        "seconds": round(time.monotonic() - start, 1),
        "atheris": find_spec("atheris") is not None,
        "limits": limits,
        "readers": found,
    }
    print(json.dumps(figures, indent=1))
    if arguments.output is not None:
        write_record(arguments.output, "edgeclf_benchmarks.records.fuzz", figures)
    if any(each["faults"] for each in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
