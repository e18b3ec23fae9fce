"""The fuzzer's processes, one after another: what came of the inputs that each has read, and the inputs of faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_benchmarks.records.fuzz.worker import LIMIT_S


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
        module = "coverage" if atheris else "worker"
        command = [sys.executable, "-m", f"edgeclf_benchmarks.records.fuzz.{module}", "--reader", name]
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
