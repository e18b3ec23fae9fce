"""What edgeclf costs before the first prediction: install size and time, cold start, peak memory.

python -m edgeclf_benchmarks.records.footprint --image PHOTO --bundles BUNDLE... -o benchmarks/results/footprint.json
python -m edgeclf_benchmarks.records.footprint --install WHEEL --extras onnx all -o benchmarks/results/install.json

--aarch64 also weighs the wheels that an aarch64 board with Python 3.11 would install: they can be unpacked anywhere.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.emulated_arm import install_for_aarch64
from edgeclf_benchmarks.records.record import spread, write_record

_OF_PIP = ("pip", "setuptools", "pkg_resources", "_distutils_hack")


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
        (site,) = Path(folder, "lib").glob("python3*/site-packages")
        return {
            "extra": extra,
            "architecture": platform.machine(),
            "seconds": round(seconds, 1),
            "megabytes": round((_bytes_under(Path(folder)) - before) / 1e6, 1),
            **_parts(site),
        }


def weigh_aarch64(wheel: Path, extra: str) -> dict[str, Any]:
    """MB of the same on an aarch64 board: its wheels are unpacked, and compiled as pip would do there."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        install_for_aarch64(site, f"{wheel}[{extra}]")
        compileall.compile_dir(site, quiet=2)
        megabytes = round(_bytes_under(site) / 1e6, 1)
        return {"extra": extra, "architecture": "aarch64", "megabytes": megabytes, **_parts(site)}


def _parts(site: Path) -> dict[str, Any]:
    """What takes it: compiled Python (`pip install --no-compile` leaves it out), and each distribution of 1 MB."""
    sizes: dict[str, int] = {}
    for each in distributions(path=[str(site)]):
        paths = {Path(str(each.locate_file(file))) for file in each.files or ()}
        paths |= {path for file in paths if file.suffix == ".py" for path in _compiled(file)}
        sizes[each.name] = sum(path.lstat().st_size for path in paths if path.is_file())
    ours = {name: size for name, size in sizes.items() if name not in ("pip", "setuptools")}
    compiled = sum(path.stat().st_size for path in site.rglob("*.pyc") if path.parts[len(site.parts)] not in _OF_PIP)
    return {
        "distributions": len(ours),
        "compiled_python_megabytes": round(compiled / 1e6, 1),
        "by_distribution": {
            name: round(size / 1e6, 1) for name, size in sorted(ours.items(), key=lambda pair: -pair[1]) if size >= 1e6
        },
    }


def _compiled(file: Path) -> Iterator[Path]:
    return (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc")


def _bytes_under(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs="*", default=[], metavar="BUNDLE")
    parser.add_argument("--image", metavar="PHOTO")
    parser.add_argument("--install", type=Path, metavar="WHEEL")
    parser.add_argument("--extras", nargs="*", default=["onnx", "all"])
    parser.add_argument("--aarch64", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.install is not None:
        measures = (measure_install, weigh_aarch64) if arguments.aarch64 else (measure_install,)
        wheel = arguments.install.resolve()
        figures: Any = [measure(wheel, extra) for extra in arguments.extras for measure in measures]
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
