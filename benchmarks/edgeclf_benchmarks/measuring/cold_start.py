"""The time of a fresh process to its first prediction, and its peak memory: one process a bundle."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError

_LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A fresh process to its first prediction; medians of `runs` processes, disk cache warm.

    `process_ms` from the start of the process to Python's first line, `import_ms` the runtime and the engine's library,
    `load_ms` bundle and engine, `first_answer_ms` the first call. `total_ms` is the median of the sums.
    """

    runs: int
    process_ms: float
    import_ms: float
    load_ms: float
    first_answer_ms: float
    total_ms: float
    samples_ms: tuple[tuple[float, float, float, float], ...]


def measure_cold_start(bundle: Bundle, options: SessionOptions, runs: int) -> tuple[ColdStart, float | None]:
    """Cold start, and the largest resident set (MiB) of processes that only open the bundle and predict once.

    The memory is None where the system doesn't report it.

    Raises BackendError where such a process fails: it would fail for whoever deploys the bundle, too.
    """
    found = [_run(bundle, options) for _ in range(runs)]
    samples = tuple(_parts(each) for each in found)
    process, imported, loaded, predicted = (statistics.median(part) for part in zip(*samples, strict=True))
    total = statistics.median(sum(sample) for sample in samples)
    peak_mib = max((float(each["peak_mib"]) for each in found if each["peak_mib"] is not None), default=None)
    return ColdStart(runs, process, imported, loaded, predicted, total, samples), peak_mib


def _parts(found: dict[str, Any]) -> tuple[float, float, float, float]:
    return found["process_ms"], found["import_ms"], found["load_ms"], found["first_answer_ms"]


def _run(bundle: Bundle, options: SessionOptions) -> dict[str, Any]:
    request = {
        "bundle": str(bundle.path),
        "target": bundle.manifest.target,
        "device": options.device,
        "threads": options.threads,
        "compute_precision": options.compute_precision,
        "started_ns": time.monotonic_ns(),
    }
    command = [sys.executable, "-m", "edgeclf_benchmarks.measuring.cold_start_child", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BackendError(f"{bundle.path}: a fresh process could not open it and predict: {last[0]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
