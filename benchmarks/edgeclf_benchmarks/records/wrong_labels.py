"""How many planted wrong labels `edgeclf data review` puts at the top of its list, on several draws of 5 % each.

python -m edgeclf_benchmarks.records.wrong_labels --images FOLDER --model NAME --weights WHERE --img-size PX -o FILE

FOLDER has a folder a class. Each draw gives 5 % of the images another class at random, and runs the command as a user
would; its precision is the share of planted labels among the first it lists.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.images.decode import find_images

_SHARE = 0.05


def plant(files: list[Path], root: Path, folder: Path, seed: int) -> tuple[Path, set[str]]:
    """A table in `folder` (with a link to the images) of which 5 % of the labels are wrong; the paths of those."""
    random = np.random.default_rng(seed)
    labels = sorted({file.relative_to(root).parts[0] for file in files})
    wrong = set(random.choice(len(files), round(_SHARE * len(files)), replace=False).tolist())
    os.symlink(root.resolve(), folder / "images")
    planted = set()
    with (folder / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label"))
        for number, image in enumerate(files):
            label, path = image.relative_to(root).parts[0], f"images/{image.relative_to(root).as_posix()}"
            if number in wrong:
                label = str(random.choice([other for other in labels if other != label]))
                planted.add(path)
            rows.writerow((path, label))
    return folder / "planted.csv", planted


def review(files: list[Path], root: Path, options: list[str], seed: int) -> dict[str, Any]:
    """One draw: the command's list against what was planted, and the CPU seconds that it took."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table, planted = plant(files, root, folder, seed)
        before = os.times()
        found = edgeclf(
            "data", "review", str(table), *options, "--images", str(len(planted)), "-o", "review", folder=folder
        )
        after = os.times()
    hits = [each["path"] in planted for each in found["suspects"]]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "planted": len(planted),
        "agreement": round(found["agreement"], 4),
        "precision_of_50": sum(hits[:50]) / 50,
        "precision_of_as_many_as_planted": round(sum(hits) / len(planted), 4),
        "cpu_seconds": round(cpu, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights", default="hub")
    parser.add_argument("--img-size", type=int, required=True)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    files = find_images(arguments.images)[0]
    options = ["-m", arguments.model, "--weights", arguments.weights, "--img-size", str(arguments.img_size)]
    draws = [review(files, arguments.images, options, seed) for seed in range(arguments.draws)]
    figures = {
        "data": f"{arguments.images.resolve().parent.name}/{arguments.images.resolve().name}",
        "images": len(files),
        "share_planted": _SHARE,
        "precision_of_50": spread([draw["precision_of_50"] for draw in draws]),
        "cpu_seconds": spread([draw["cpu_seconds"] for draw in draws], 1),
        "draws": draws,
    }
    print(figures)
    write_record(arguments.output, "edgeclf_benchmarks.records.wrong_labels", figures)


if __name__ == "__main__":
    main()
