"""Whether `edgeclf serve` and `edgeclf predict --watch` take more and more memory, threads or files; Linux.

python -m edgeclf_benchmarks.records.soak BUNDLE --hours 2 -o benchmarks/results/soak.json
python -m edgeclf_benchmarks.records.soak BUNDLE --threads 2 -o benchmarks/results/soak_two_threads.json

The service has one thread, where it batches requests, or `--threads`, which each predict what waits.

Both run together under load (soak_load.py), and are sampled every ten seconds. The first quarter is warm-up. The rest
is cut into ten blocks, as samples that follow each other are alike; the slope is that of the means of the blocks, with
its 95 % interval (Student's t, 8 degrees of freedom). A measure "grows" where the whole interval is above its
tolerance, is "flat" where the whole interval is below, and "not decided" else, or where it seems to grow within less
than half an hour, in which allocators settle: then the run was too short.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.service import serving
from edgeclf_benchmarks.records.soak_load import arriving, clients

TOLERANCES = {"rss_mib": 4.0, "anonymous_mib": 4.0, "threads": 1.0, "files": 1.0}  # an hour
_WARM_UP, _BLOCKS, _T_OF_8, _SETTLES_H = 0.25, 10, 2.306, 0.5
_ROWS_KEPT = 120
Sample = Mapping[str, float]


def sample(pid: int) -> dict[str, float]:
    """Resident memory and its own part of that (of no file) in MiB, threads and open files of a process, by /proc.

    Not the proportional size, which rises when another program that maps the same libraries ends.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {
        "rss_mib": round(sizes["Rss"], 2),
        "anonymous_mib": round(sizes["Anonymous"], 2),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
    }


def trend(hours: Sequence[float], values: Sequence[float], tolerance: float) -> dict[str, Any]:
    """Slope an hour of a measure over the time after warm-up, its 95 % interval and the verdict."""
    at, found = np.asarray(hours), np.asarray(values, dtype=float)
    kept = at >= at[0] + _WARM_UP * (at[-1] - at[0])
    blocks = [
        (times.mean(), means.mean())
        for times, means in zip(np.array_split(at[kept], _BLOCKS), np.array_split(found[kept], _BLOCKS), strict=True)
        if len(times)
    ]
    if len(blocks) < _BLOCKS:
        raise SystemExit("too few samples; let it run longer, or sample more often with --every")
    x, y = np.array(blocks).T
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(((y - y.mean() - slope * x) ** 2).sum() / (_BLOCKS - 2) / (x @ x)))
    low, high = slope - _T_OF_8 * error, slope + _T_OF_8 * error
    grows = low > tolerance and at[-1] - at[0] > _SETTLES_H
    verdict = "grows" if grows else "flat" if high < tolerance else "not decided"
    return {
        "first": round(float(y[0]), 2),
        "last": round(float(y[-1]), 2),
        "slope_per_hour": round(slope, 3),
        "interval": [round(low, 3), round(high, 3)],
        "tolerance": tolerance,
        "verdict": verdict,
    }


@contextmanager
def watching(bundle: str, inbox: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`edgeclf predict --watch` on a folder; its predictions go to the file `log`, which is emptied by `soak`."""
    command = [sys.executable, "-m", "edgeclf", "predict", bundle, str(inbox), "--watch", "--json"]
    with log.open("ab") as rows, log.with_suffix(".notices").open("ab") as notices:
        process = subprocess.Popen(command, stdout=rows, stderr=notices, start_new_session=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def soak(bundle: str, hours: float, every_s: float, threads: int = 1) -> dict[str, Any]:
    """Both under load for so long: what was counted, and the trend of each measure."""
    with tempfile.TemporaryDirectory(prefix="edgeclf-soak-") as folder:
        (inbox := Path(folder, "inbox")).mkdir()
        log = Path(folder, "predictions")
        with (
            serving(bundle, threads, "--no-request-log") as (port, served),
            watching(bundle, inbox, log) as watch,
            clients(port) as requests,
            arriving(inbox) as images,
        ):
            processes: dict[str, subprocess.Popen[Any]] = {"serve": served, "predict --watch": watch}
            taken, predicted = _sample_all(processes, log, hours, every_s)
        counted = {"requests": dict(requests), "images": images["arrived"], "predicted": predicted}
    given = {"hours": hours, "seconds_between_samples": every_s, "threads": threads}
    return {**given, **counted, "processes": _trends(taken)}


def _sample_all(
    processes: Mapping[str, subprocess.Popen[Any]], log: Path, hours: float, every_s: float
) -> tuple[dict[str, list[tuple[float, Sample]]], int]:
    """(hours since the start, sample) of each process, and how many lines the watch has printed."""
    taken: dict[str, list[tuple[float, Sample]]] = {name: [] for name in processes}
    start, predicted = time.monotonic(), 0
    while (passed := time.monotonic() - start) < 3600 * hours:
        for name, process in processes.items():
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with {process.returncode} after {passed:.0f} s")
            taken[name].append((passed / 3600, sample(process.pid)))
        predicted += log.read_bytes().count(b"\n")
        os.truncate(log, 0)  # two hours of it are not what is to be measured
        last = {name: rows[-1][1] for name, rows in taken.items()}
        print(f"{passed:6.0f} s: {last}", file=sys.stderr)
        time.sleep(every_s)
    return taken, predicted


def _trends(taken: Mapping[str, list[tuple[float, Sample]]]) -> dict[str, Any]:
    return {
        name: {
            **{
                measure: trend([at for at, _ in rows], [each[measure] for _, each in rows], tolerance)
                for measure, tolerance in TOLERANCES.items()
            },
            "samples": [{"hours": round(at, 4), **each} for at, each in rows[:: 1 + len(rows) // _ROWS_KEPT]],
        }
        for name, rows in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="between two samples")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the service")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    figures = soak(arguments.bundle, arguments.hours, arguments.every, arguments.threads)
    print(json.dumps(figures, indent=1))
    if arguments.output is not None:
        write_record(arguments.output, "edgeclf_benchmarks.records.soak", figures)
    grown = [
        f"{measure} of {name}"
        for name, found in figures["processes"].items()
        for measure in TOLERANCES
        if found[measure]["verdict"] == "grows"
    ]
    if grown:
        raise SystemExit(f"grows: {', '.join(grown)}")


if __name__ == "__main__":
    main()
