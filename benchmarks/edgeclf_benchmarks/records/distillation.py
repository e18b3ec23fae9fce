"""Does a teacher help? A student of small images, with and without its teacher, on the same test images.

    python -m edgeclf_benchmarks.records.distillation --data FOLDER -o benchmarks/results/distillation.json

Teacher and student are EfficientNet-Lite0, the teacher at 64 px and the student at 32: what it knows and the student
can't see is what there is to learn. Each gain is what `train --compare` prints, paired image by image. The last arm
learns from the teacher alone: the training images, without their labels.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.training import BACKBONE

STRATEGIES = {
    "two-phase": ("--strategy", "two-phase", "--epochs", "3"),
    "linear-probe": ("--strategy", "linear-probe", "--epochs", "10"),
}
_SPLIT = "split.json"


def measure(data: Path, teacher_px: int, student_px: int, seeds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        split = edgeclf("data", "split", str(data.resolve()), "-o", _SPLIT, folder=folder)
        options = (*BACKBONE, "--img-size", str(teacher_px), *STRATEGIES["two-phase"], "--name", "teacher")
        edgeclf("train", _SPLIT, *options, folder=folder)
        rounds = [_round(student_px, seed, folder) for seed in range(seeds)]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    names = (*STRATEGIES, "without labels")
    return {
        "data": data.name,
        "images": {name: sum(counts.values()) for name, counts in split["counts"].items()},
        "network": " ".join(BACKBONE),
        "teacher_px": teacher_px,
        "student_px": student_px,
        "teacher": rounds[0]["two-phase"]["teacher"],
        "seeds": rounds,
        "mean_points": {
            name: round(sum(each[name]["points"] for each in rounds) / seeds, 2) for name in names if name in STRATEGIES
        },
        "mean_top1": {name: round(sum(each[name]["top1"] for each in rounds) / seeds, 4) for name in names},
        "load_average": [round(found, 1) for found in os.getloadavg()],
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
    }


def _round(side: int, seed: int, folder: Path) -> dict[str, Any]:
    """One seed: each strategy with and without the teacher, and the teacher alone."""
    shared = (*BACKBONE, "--img-size", str(side), "--seed", str(seed), "--teacher", "runs/teacher")
    found: dict[str, Any] = {"seed": seed}
    for name, strategy in STRATEGIES.items():
        options = (*shared, *strategy, "--name", f"{name}-{seed}", "--compare", "--evaluate-on", "test")
        trained = edgeclf("train", _SPLIT, *options, folder=folder)
        found[name] = _gain(trained) | {"command": " ".join(("edgeclf train", _SPLIT, *options))}
    name = f"without-labels-{seed}"
    alone = (*shared, *STRATEGIES["two-phase"], "--unlabelled", _SPLIT, "--name", name)
    trained = edgeclf("train", *alone, folder=folder)
    report = edgeclf("eval", f"runs/{name}", _SPLIT, folder=folder)["report"]["evaluation"]
    interval = report["top1_interval"]
    found["without labels"] = {
        "top1": round(report["top1"], 4),
        "interval": [round(interval["low"], 4), round(interval["high"], 4)],
        "images": report["images"],
        "agreement_with_teacher": round(trained["outcome"]["scores"]["val_top1"], 4),
        "command": " ".join(("edgeclf train", *alone)),
    }
    return found


def _gain(trained: dict[str, Any]) -> dict[str, Any]:
    """What the teacher brought, in points of top-1 on the test images; `teacher`: as the run records it."""
    gain, teacher = trained["gain"], trained["teacher"]
    return {
        "top1": round(gain["top1"], 4),
        "top1_without": round(gain["top1_without"], 4),
        "points": round(gain["points"], 2),
        "interval": [round(gain["interval"][end], 2) for end in ("low", "high")],
        "method": gain["interval"]["method"],
        "images": gain["images"],
        "teacher": {"top1": round(teacher["top1"], 4), "validation_images": teacher["images"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--teacher-size", type=int, default=64, metavar="PX")
    parser.add_argument("--student-size", type=int, default=32, metavar="PX")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = measure(given.data, given.teacher_size, given.student_size, given.seeds)
    write_record(given.output, "edgeclf_benchmarks.records.distillation", figures)


if __name__ == "__main__":
    main()
