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
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.fuzz_readers import MEGAPIXELS, readers
from edgeclf_benchmarks.records.fuzz_worker import LIMIT_S
from edgeclf_benchmarks.records.record import write_record

_IMAGES, _OTHERS, _BY_COVERAGE = 10_000, 1_000, 500  # inputs of a process
_COVERAGE_TURNS = 4  # following coverage is slow: in every fourth turn


@dataclass(slots=True)
class Figures:
    """What came of the inputs of one reader."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    largest_memory_mb: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)  # asdict can't copy a Counter
    follows_coverage: int = 0

    def add(self, found: str, milliseconds: float, taken: int) -> bool:
        """Counts one input; True where it is a fault."""
        self.inputs += 1
        self.slowest_ms = max(self.slowest_ms, milliseconds)
        self.largest_memory_mb = max(self.largest_memory_mb, round(taken / 1e6, 1))
        if found in ("read", "refused"):
            setattr(self, found, getattr(self, found) + 1)
            return False
        self.faults[found] = self.faults.get(found, 0) + 1
        return True


@dataclass(frozen=True, slots=True)
class Given:
    """The bundle and the files of further readers, which every process of the fuzzer is told."""

    bundle: Path | None = None
    readers: tuple[Path, ...] = ()

    @property
    def options(self) -> list[str]:
        bundle = ["--bundle", str(self.bundle)] if self.bundle else []
        return [*bundle, *(["--readers", *map(str, self.readers)] if self.readers else [])]


def run_worker(
    name: str, given: Given, seed: int, figures: Figures, faults: Path, *, count: int, atheris: bool = False
) -> None:
    """Counts up to `count` inputs of one fresh process into `figures`, and keeps the input of a fault in `faults`."""
    with tempfile.TemporaryDirectory() as folder:
        current, (reading, writing) = Path(folder, "current"), os.pipe()
        module = "fuzz_coverage" if atheris else "fuzz_worker"
        command = [sys.executable, "-m", f"edgeclf_benchmarks.records.{module}", "--reader", name]
        command += ["--seed", str(seed), "--count", str(count), "--current", str(current), "--rows", str(writing)]
        command += given.options
        (corpus := Path(folder, "corpus")).mkdir()
        environment = {**os.environ, "EDGECLF_FUZZ_CORPUS": str(corpus), "TMPDIR": folder}
        with Path(folder, "errors").open("w+b") as errors:
            process = subprocess.Popen(command, pass_fds=[writing], env=environment, stdout=errors, stderr=errors)
            os.close(writing)
            before = figures.inputs
            with os.fdopen(reading, encoding="utf-8") as rows:
                for row in rows:
                    if figures.add(*json.loads(row)):
                        _keep(current, faults, name)
            status = process.wait()
            if atheris:
                figures.follows_coverage += figures.inputs - before
            if status and not (current.exists() and current.stat().st_size):  # before it read any input
                errors.seek(0)
                raise SystemExit(errors.read().decode(errors="replace")[-2000:])
        if status:
            figures.add(_ending(status), LIMIT_S * 1e3 if status == -signal.SIGALRM else 0.0, 0)
            _keep(current, faults, name)


def _ending(status: int) -> str:
    if status == -signal.SIGALRM:
        return f"took more than {LIMIT_S:g} s"
    return f"process ended: {signal.Signals(-status).name if status < 0 else status}"


def _keep(current: Path, faults: Path, name: str) -> None:
    """The input that lies in `current`; by its reader and a number."""
    content = current.read_bytes()
    size = int.from_bytes(content[:8], "big")
    faults.mkdir(parents=True, exist_ok=True)
    (faults / f"{name.replace(' ', '-')}-{len(list(faults.iterdir())):04d}").write_bytes(content[8 : 8 + size])


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
