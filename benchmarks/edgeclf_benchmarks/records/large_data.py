"""What commands cost on large data: CPU seconds and memory at several sizes, and the power that they grow with.

    python -m edgeclf_benchmarks.records.large_data 100 1000 10000 -o benchmarks/results/large_data.json
    python -m edgeclf_benchmarks.records.large_data 1000 10000 100000 300000 --side-px 16 --suffix .bmp \
        --folder large -o benchmarks/results/large_data_tiny.json

Each size is a folder of made images (see made_images.py), and each command a process of its own. The first size, which
should be small, gives what a command costs before it has read anything; the power is that of the rest, from the last
size but one to the largest: at smaller ones the rest is lost in the start. A power of 1 is a cost that doubles with the
number of images. The bundle is HOG+SVM, trained on the first size. The search for
look-alikes is measured on random hashes, too, as many as `--hashes` says; 2 % of them differ in 10 bits from another.
With a `--folder`, a record that was stopped goes on where it was, command by command.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.made_images import make_images
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.errors import DataError

_MODULE = "edgeclf_benchmarks.records.large_data"
_FINE = (0, DataError.exit_code)  # a made image may be odd to a command
_NAME, _FOUND = "made", "found.json"
_LOAD = """
import pathlib, sys
from edgeclf.data.split_file import load_split
load_split(pathlib.Path(sys.argv[1]))
"""
_START = """
import pathlib, sys
from edgeclf.data.split_file import load_split
from edgeclf.training.run.left_out import leave_out_unusable
leave_out_unusable(load_split(pathlib.Path(sys.argv[1])))
"""
_SEARCH = """
import json, resource, sys, time
import numpy as np
from edgeclf.data.likeness import find_alike
from edgeclf_runtime.images.likeness import MOST_BITS, Likeness
count = int(sys.argv[1])
planted, random = count // 50, np.random.default_rng(0)
hashes = random.integers(0, 1 << 63, count, dtype=np.uint64)
flips = [sum(1 << int(bit) for bit in random.choice(63, MOST_BITS, replace=False)) for _ in range(planted)]
hashes[count - planted :] = hashes[:planted] ^ np.array(flips, dtype=np.uint64)
copy = random.integers(0, 256, 256, dtype=np.uint8).tobytes()
likenesses = [Likeness(int(bits), copy) for bits in hashes]
start = time.process_time()
found, _ = find_alike(likenesses)
cpu_s = round(time.process_time() - start, 2)
places = {(each.first, each.second) for each in found if not each.mirrored}
print(json.dumps({
    "hashes": count,
    "cpu_s": cpu_s,
    "planted": planted,
    "planted_and_found": sum((place, count - planted + place) in places for place in range(planted)),
    "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
}))
"""


def cost_of(command: Sequence[str], folder: Path) -> dict[str, float]:
    """What a process and all that it waited for cost: CPU and wall seconds, peak memory. SystemExit where it fails."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
    start = time.perf_counter()
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = round(time.perf_counter() - start, 2)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in _FINE:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {folder / 'log'}")
    cpu_s = round(usage.ru_utime + usage.ru_stime, 2)
    return {"cpu_s": cpu_s, "wall_s": wall_s, "peak_mib": round(usage.ru_maxrss / 1024, 1)}


def measure(
    folder: Path, count: int, made: dict[str, Any], found: dict[str, Any], keep: Callable[[], None], *, predicts: bool
) -> None:
    """Adds the cost of each command on so many images, `made` in this way, to what was `found` before; keeps each.

    The first call trains the bundle.
    """
    edgeclf = (sys.executable, "-m", "edgeclf")
    images, split = folder / f"images{count}", folder / f"split{count}.json"
    bundle = folder / "bundles" / f"{_NAME}-hog-svm-fp32"
    steps = {
        "data check": (*edgeclf, "data", "check", str(images)),
        "data check, again": (*edgeclf, "data", "check", str(images)),
        "data split": (*edgeclf, "data", "split", str(images), "-o", str(split)),
        "load a split": (sys.executable, "-c", _LOAD, str(split)),
        "start of a training": (sys.executable, "-c", _START, str(split)),  # until its network is made
    }
    predictions = {
        "predict": (*edgeclf, "predict", str(bundle), str(images), "--csv", f"predictions{count}.csv"),
        "eval": (*edgeclf, "eval", str(bundle), str(split), "--output", f"eval{count}"),
    }
    commands = {**steps, **(predictions if predicts else {})}
    wanted = [name for name in commands if name not in found]
    if wanted and not images.exists():
        making = folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        make_images(making, count, **made)
        making.rename(images)
        time.sleep(3)  # what has just been written is not kept by the commands
    for name in wanted:
        if name == "predict" and not bundle.exists():
            train = ("baseline", str(split), "--folds", "0", "--output", str(bundle.parent), "--name", _NAME)
            cost_of((*edgeclf, *train), folder)
        found[name] = cost_of(commands[name], folder)
        print(f"{count:,} images, {name}: {found[name]}", file=sys.stderr)
        keep()
    shutil.rmtree(images, ignore_errors=True)


def powers(sizes: dict[int, dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """For CPU time and memory of each command, the power of the number of images that they grow with."""
    least, *others = sorted(sizes)
    found = {}
    for name, start in sizes[least].items():
        measured = [size for size in others if name in sizes[size]]
        if len(measured) > 1:
            low, high = measured[-2:]
            found[name] = {
                figure: _power(
                    sizes[low][name][figure] - start[figure], sizes[high][name][figure] - start[figure], high / low
                )
                for figure in ("cpu_s", "peak_mib")
            }
    return found


def _power(low: float, high: float, times: float) -> float | None:
    """None where the cost of the smaller size is lost in that of starting."""
    return round(math.log(high / low) / math.log(times), 2) if low > 0 and high > 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, metavar="IMAGES", help="the first one small")
    parser.add_argument("--hashes", nargs="*", type=int, default=[], metavar="N")
    parser.add_argument("--predict-most", type=int, default=10_000, metavar="N", help="images of predict and eval")
    parser.add_argument("--folder", type=Path, help="a new one, where the images are made, and removed")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--side-px", type=int, default=64, metavar="PX")
    parser.add_argument("--suffix", default=".jpg", choices=[".jpg", ".png", ".bmp"])
    given = parser.parse_args()
    made = {"side_px": given.side_px, "suffix": given.suffix}
    searches: list[dict[str, Any]] = []

    def write() -> None:  # after each command, for all of them take long
        (folder / _FOUND).write_text(json.dumps(sizes), encoding="utf-8")
        if given.output is not None:
            figures = {"made": made, "images": sizes, "grows_with_the_power": powers(sizes), "look_alikes": searches}
            write_record(given.output, _MODULE, figures)

    with nullcontext(given.folder) if given.folder else tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        folder.mkdir(exist_ok=True)
        before = json.loads((folder / _FOUND).read_text("utf-8")) if (folder / _FOUND).exists() else {}
        sizes: dict[int, dict[str, Any]] = {int(size): found for size, found in before.items()}
        for size in given.sizes:
            measure(folder, size, made, sizes.setdefault(size, {}), write, predicts=size <= given.predict_most)
        for count in given.hashes:  # each in a process, for its memory
            command = [sys.executable, "-c", _SEARCH, str(count)]
            searches.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            print(searches[-1], file=sys.stderr)
            write()


if __name__ == "__main__":
    main()
