"""One process of the fuzzer: it reads damaged inputs within limits of time and memory, and writes a row for each.

Started by edgeclf_benchmarks.records.fuzz, which outlives it: an input that ends the process is in `current`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from edgeclf_benchmarks.records.fuzz.odd_inputs import outcome
from edgeclf_benchmarks.records.fuzz.readers import Reader, readers

LIMIT_S = 10.0
_ADDRESS_SPACE = 6 << 30  # libraries map much that they never touch
_HIGH_WATER = "VmHWM:"


class Worker:
    """Reads inputs one by one; `current` holds the one that is read now, or was read when the process ended."""

    def __init__(self, reader: Reader, current: Path, rows: int) -> None:
        self._reader = reader
        self._current = os.open(current, os.O_RDWR | os.O_CREAT, 0o600)
        self._rows = os.fdopen(rows, "w", buffering=1)
        for data in reader.corpus:  # so that every module is loaded, and counted as none's memory
            outcome(reader.read, data)
        gc.collect()

    def take(self, data: bytes) -> None:
        """Reads one input. The alarm is the system's own: it ends the process inside native code, too."""
        os.pwrite(self._current, len(data).to_bytes(8, "big") + data, 0)
        before = _memory_kib("VmRSS:")
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark begins anew: proc(5)
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            found = outcome(self._reader.read, data)
        except Exception as error:
            found = f"{type(error).__name__} in {_place(error)}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds = time.perf_counter() - start
        taken = max(0, _memory_kib(_HIGH_WATER) - before) * 1024
        if taken > self._reader.most_bytes:
            found = f"{taken} bytes of memory"
        self._rows.write(json.dumps([found, round(seconds * 1e3, 3), taken]) + "\n")


def _memory_kib(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def _place(error: Exception) -> str:
    """Where it was raised, so that one fault counts once."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _mutate(worker: Worker, reader: Reader, seed: int, count: int) -> None:
    for number in range(seed, seed + count):
        worker.take(reader.damaged(random.Random(number)))


Run = Callable[[Worker, Reader, int, int], None]


def main(run: Run = _mutate) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--readers", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--current", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True, help="file descriptor")
    arguments = parser.parse_args()
    reader = readers(arguments.bundle, arguments.readers)[arguments.reader]
    worker = Worker(reader, arguments.current, arguments.rows)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    run(worker, reader, arguments.seed, arguments.count)


if __name__ == "__main__":
    main()
