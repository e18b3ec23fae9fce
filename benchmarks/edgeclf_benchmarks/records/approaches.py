"""What each approach makes of one data set: HOG + SVM, linear probe, two-phase; accuracy, images and time.

    python -m edgeclf_benchmarks.records.approaches --data FOLDER -o benchmarks/results/approaches.json

Runs the commands that a user types, and evaluates each result once on the test images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.training import BACKBONE

NETWORKS = {"linear-probe": ("--strategy", "linear-probe"), "two-phase": ("--strategy", "two-phase", "--epochs", "3")}


def measure(data: Path, side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        split = edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=folder)
        rows = [_baseline(folder), *(_network(name, side, folder) for name in NETWORKS)]
    return {
        "data": data.name,
        "images": {name: sum(counts.values()) for name, counts in split["counts"].items()},
        "img_size_px": side,
        "approaches": rows,
    }


def _baseline(folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    found = edgeclf("baseline", "split.json", "--name", "measured", folder=folder)["baseline"]
    return {
        "approach": "hog-svm",
        "test_accuracy": found["test_accuracy"],
        "test_interval": found["test_interval"],
        "fold_accuracies": found["fold_accuracies"],
        "training_s": found["training_seconds"],
        "whole_command_s": round(time.perf_counter() - start, 1),
    }


def _network(name: str, side: int, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    options = (*BACKBONE, "--img-size", str(side), *NETWORKS[name], "--name", name)
    trained = edgeclf("train", "split.json", *options, folder=folder)
    whole = time.perf_counter() - start
    report = edgeclf("eval", f"runs/{name}", folder=folder)["report"]
    return {
        "approach": name,
        "command": " ".join(("edgeclf train split.json", *options)),
        "test_accuracy": report["evaluation"]["top1"],
        "test_interval": report["evaluation"]["top1_interval"],
        "test_macro_f1": report["evaluation"]["macro_f1"],
        "test_ece": report["evaluation"]["ece"],
        "training_s": trained["outcome"]["training_seconds"],
        "whole_command_s": round(whole, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    write_record(given.output, "edgeclf_benchmarks.records.approaches", measure(given.data, given.img_size))


if __name__ == "__main__":
    main()
