"""One change of the training recipe at a time: with it and without, on the same images and seeds.

    python -m edgeclf_benchmarks.records.recipe digits C=DIR --change lr --img-size 64 --epochs 3 --keep DIR -o FILE

EfficientNet-Lite0 with ImageNet weights, two-phase. Each data set is a folder of images, or one that comes with an
installed package. The change is chosen on validation images, paired image by image over all seeds, and wins a case
where it is better there. With --test the same figures follow on test images, whose use is counted in each run; they
choose nothing. Cases that the output holds already stay there. Runs are kept in --keep: what has ended is not trained
again, and after Ctrl-C the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.commands import edgeclf, trained
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.training import BACKBONE
from edgeclf_runtime.metrics.intervals import number_groups
from edgeclf_runtime.metrics.paired import change_interval

_DEFAULT = ("--lr", "1e-4")  # named, so that a record still says what it compared when the default has changed
_SINCE = ("--lr", "3e-4")  # the default from 2026-11-27 on
_SMALLER = "SMALLER_RUN"  # the weights of a run before it, in three quarters of the size; each has 2/3 of the epochs
CHANGES = {  # name -> (options without it, options with it)
    "lr": (_DEFAULT, ("--lr", "3e-4")),
    "ema": (_DEFAULT, (*_DEFAULT, "--ema", "0.99")),
    "light": (_DEFAULT, (*_DEFAULT, "--augment", "light")),
    "head": (_DEFAULT, (*_DEFAULT, "--head-epochs", "30")),
    "mixup": (_DEFAULT, (*_DEFAULT, "--mixup", "0.2")),
    "progressive": (_DEFAULT, (*_DEFAULT, "--weights", _SMALLER)),
    "batch": (_SINCE, (*_SINCE, "--batch-size", "16")),
    "smoothing": (_SINCE, (*_SINCE, "--label-smoothing", "0")),
    "dropout": (_SINCE, (*_SINCE, "--dropout", "0")),
}

Right = dict[str, bool]  # name of an image -> whether it is predicted right
_PREDICT = """
import json, sys
from edgeclf import Run
from edgeclf.evaluation.inference import count_test_images
from edgeclf.training.run.evaluate import predict_with_run
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.images.labelled import class_numbers
from edgeclf_runtime.progress import SILENT

found = []
for path in sys.argv[2:]:
    run = Run.open(path)
    images = run.usable_data().of(sys.argv[1])
    subject = digest_state(run.weights())
    count_test_images(run.path, images, subject=subject, data_sha256=run.data().digest, verb="eval")
    exportable = run.exportable()
    done = predict_with_run(exportable, images, 16, SILENT)
    right = done.logits.argmax(1) == class_numbers(done.images, exportable.labels)
    found.append({image.name: bool(each) for image, each in zip(done.images, right)})
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One change on one data set, in one size of images, for so many epochs."""

    change: str
    data: str
    side_px: int
    epochs: int

    def options(self, seed: int, own: Sequence[str]) -> tuple[str, ...]:
        epochs = _two_thirds(self.epochs) if _SMALLER in own else self.epochs
        sizes = ("--img-size", str(self.side_px), "--epochs", str(epochs), "--seed", str(seed))
        return (*BACKBONE, "--strategy", "two-phase", *sizes, *own)

    def smaller(self) -> Case:
        """The run that comes before, in three quarters of the size."""
        return replace(self, side_px=self.side_px * 3 // 4, epochs=_two_thirds(self.epochs))


def _two_thirds(epochs: int) -> int:
    """9/16 of an epoch's time for as many, and that number in full size, take 1.04 times all of them."""
    return round(epochs * 2 / 3)


def measure(case: Case, split: Path, seeds: int, folder: Path, *, test: bool) -> dict[str, Any]:
    """Trains what is missing of a case; its figures."""
    without, changed = (
        [_trained(case, seed, own, split, folder) for seed in range(seeds)] for own in CHANGES[case.change]
    )
    splits = ("val", "test") if test else ("val",)
    return {
        "change": " ".join(CHANGES[case.change][1]),
        "without": " ".join(CHANGES[case.change][0]),
        "data": case.data,
        "img_size_px": case.side_px,
        "epochs": case.epochs,
        **{name: _compared(_right(without, name), _right(changed, name)) for name in splits},
        "command": " ".join(("edgeclf train", split.name, *case.options(0, CHANGES[case.change][1]))),
    }


def _trained(case: Case, seed: int, own: Sequence[str], split: Path, folder: Path) -> Path:
    """The run of these options, which is trained, or gone on with, unless it has ended."""
    name = f"{case.data}-{case.side_px}-{case.epochs}-{seed}"
    run = folder / "runs" / "-".join((name, *(word.removeprefix("--") for word in own)))
    options = case.options(seed, own)
    if _SMALLER in own:
        before = _trained(case.smaller(), seed, own[: own.index("--weights")], split, folder)
        options = tuple(str(before) if word == _SMALLER else word for word in options)
    return trained(run, split, *options)


def _right(runs: Sequence[Path], split: str) -> list[Right]:
    """Of each run, for the images of the split; a use of test images is counted."""
    done = subprocess.run([sys.executable, "-c", _PREDICT, split, *map(str, runs)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: list[Right] = json.loads(done.stdout)
    return found


def _compared(before: Sequence[Right], after: Sequence[Right]) -> dict[str, Any]:
    """The change of top-1 over all seeds; the predictions of one image in several seeds count as a group."""
    names = [name for one in before for name in one]
    was = np.array([found for one in before for found in one.values()])
    now = np.array([one[name] for one, other in zip(after, before, strict=True) for name in other])
    interval = change_interval(was, now, number_groups(names))
    return {
        "images": len(before[0]),
        "top1_without": [round(float(np.mean(list(one.values()))), 4) for one in before],
        "top1": [round(float(np.mean(list(one.values()))), 4) for one in after],
        "points": round(100 * float(now.mean() - was.mean()), 2),
        "interval": [round(interval.low, 2), round(interval.high, 2)],
        "method": interval.method,
    }


def _splits(sets: Sequence[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and split of each data set: NAME=FOLDER, or the name of one of `edgeclf data fetch`."""
    for word in sets:
        name, own, source = word.partition("=")
        place = folder / f"{name}.json"
        if not place.exists():
            if not own:
                source = edgeclf("data", "fetch", name, str(folder / name), "--force", folder=folder)["source"]
            edgeclf("data", "split", str(Path(source).resolve()), "-o", str(place), folder=folder)
        yield name, place


def _recorded(path: Path) -> list[dict[str, Any]]:
    """The cases of an earlier record in this file, measured with the same network."""
    figures = json.loads(path.read_text("utf-8"))["figures"] if path.exists() else {}
    cases: list[dict[str, Any]] = figures["cases"] if figures.get("network") == " ".join(BACKBONE) else []
    return cases


def _key(case: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(case[name] for name in ("change", "without", "data", "img_size_px", "epochs"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER|NAME")
    parser.add_argument("--change", action="append", choices=tuple(CHANGES), required=True)
    parser.add_argument("--img-size", type=int, action="append", required=True, metavar="PX")
    parser.add_argument("--epochs", type=int, action="append", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--test", action="store_true", help="also on test images, after the choice")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further case after so long")
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help="for the runs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    folder, start = given.keep.resolve(), time.monotonic()
    splits = dict(_splits(given.sets, folder))
    cases = [
        Case(change, data, side, epochs)
        for change in given.change
        for epochs in given.epochs
        for side in given.img_size
        for data in splits
    ]
    found = _recorded(given.output)
    for number, case in enumerate(cases):
        if time.monotonic() - start > 60 * given.minutes:
            break
        measured = measure(case, splits[case.data], given.seeds, folder, test=given.test)
        found = [each for each in found if _key(each) != _key(measured)] + [measured]
        figures = {
            "network": " ".join(BACKBONE),
            "seeds": given.seeds,
            "cases": found,
            "not_run": [
                f"{each.change}: {each.data}, {each.side_px} px, {each.epochs} epochs" for each in cases[number + 1 :]
            ],
            "load_average": [round(each, 1) for each in os.getloadavg()],
        }
        write_record(given.output, "edgeclf_benchmarks.records.recipe", figures)


if __name__ == "__main__":
    main()
