"""What edgeclf costs before the first prediction: install size and time, cold start, peak memory.

python -m edgeclf_benchmarks.records.footprint --image PHOTO --bundles BUNDLE... -o benchmarks/results/footprint.json
python -m edgeclf_benchmarks.records.footprint --install WHEEL --extras onnx all -o benchmarks/results/install.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import spread, write_record


def run_process(command: list[str]) -> tuple[float, float]:
    """(wall seconds, peak resident MiB) of one fresh process, by the system's own accounting. Raises if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def measure_processes(commands: dict[str, list[str]], runs: int) -> dict[str, Any]:
    """Wall time and peak memory of each command, the commands taken in turn; the first turn warms the disk cache."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            sample = run_process(command)
            if turn:
                samples[name].append(sample)
    return {
        name: {
            "wall_s": spread([seconds for seconds, _ in taken]),
            "peak_mib": spread([peak for _, peak in taken], 1),
        }
        for name, taken in samples.items()
    }


def measure_install(wheel: Path, extra: str) -> dict[str, Any]:
    """Seconds and MB of `pip install WHEEL[extra]` into a fresh environment, pip itself not counted."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        before = _bytes_under(Path(folder))
        start = time.perf_counter()
        python = str(Path(folder, "bin", "python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[{extra}]"], check=True)
        seconds = time.perf_counter() - start
        listing = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True)
        installed = [line for line in listing.stdout.decode().split() if not line.startswith(("pip=", "setuptools="))]
        return {
            "extra": extra,
            "seconds": round(seconds, 1),
            "megabytes": round((_bytes_under(Path(folder)) - before) / 1e6, 1),
            "distributions": len(installed),
        }


def _bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs="*", default=[], metavar="BUNDLE")
    parser.add_argument("--image", metavar="PHOTO")
    parser.add_argument("--install", type=Path, metavar="WHEEL")
    parser.add_argument("--extras", nargs="*", default=["onnx", "all"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.install is not None:
        figures: Any = [measure_install(arguments.install.resolve(), extra) for extra in arguments.extras]
    else:
        edgeclf = [sys.executable, "-m", "edgeclf"]
        commands = {"edgeclf --help": [*edgeclf, "--help"]}
        for bundle in arguments.bundles:
            commands[f"predict {Path(bundle).name}"] = [*edgeclf, "predict", bundle, arguments.image]
        figures = measure_processes(commands, arguments.runs)
    print(figures)
    write_record(arguments.output, "edgeclf_benchmarks.records.footprint", figures)


if __name__ == "__main__":
    main()
