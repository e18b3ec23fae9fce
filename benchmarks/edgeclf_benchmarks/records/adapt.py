"""Does adaptation without labels help? Linear probes on random and on adapted weights, on the same test images.

    python -m edgeclf_benchmarks.records.adapt --data FOLDER -o benchmarks/results/adapt.json

The case where it should: a network that knows nothing, and a few thousand small images. Only training images are
adapted to. A third probe is between the two: random weights whose BatchNorm statistics are those of the images,
which a rate of almost 0 gives; the gain of adapted weights over it was learnt. The difference of two probes is paired,
image by image.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.metrics.intervals import Resampling, wilson
from edgeclf_runtime.metrics.paired import Z_TWO_SIDED, change_bounds

ARMS = ("random", "statistics", "adapted")
PROBE = ("--strategy", "linear-probe", "--epochs", "60", "--lr", "0.01", "--dropout", "0", "--batch-size", "256")
_NO_RATE = "1e-12"

Right = NDArray[np.bool_]


def measure(data: Path, network: str, side: int, epochs: int, seeds: int) -> dict[str, Any]:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        split = edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=folder)
        rounds = [_round(network, side, epochs, seed, folder) for seed in range(seeds)]
    right = {arm: np.stack([each["right"][arm] for each in rounds]) for arm in ARMS}  # (seeds, images)
    return {
        "data": data.name,
        "images": {name: sum(counts.values()) for name, counts in split["counts"].items()},
        "network": network,
        "img_size_px": side,
        "epochs": epochs,
        "probe": " ".join(PROBE),
        "seeds": [each["figures"] for each in rounds],
        "top1_mean": {arm: round(float(found.mean()), 4) for arm, found in right.items()},
        "adapted_over_random": _mean_change(right["random"], right["adapted"]),
        "adapted_over_statistics": _mean_change(right["statistics"], right["adapted"]),
        "load_average": [round(found, 1) for found in os.getloadavg()],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _round(network: str, side: int, epochs: int, seed: int, folder: Path) -> dict[str, Any]:
    """One seed: two adaptations, three probes, their predictions for the test images."""
    shared = ("-m", network, "--img-size", str(side), "--seed", str(seed))
    start = ("adapt", "split.json", *shared, "--weights", "random")
    adapted = edgeclf(*start, "--epochs", str(epochs), "-o", f"adapted/{seed}", folder=folder)
    edgeclf(*start, "--epochs", "1", "--lr", _NO_RATE, "-o", f"statistics/{seed}", folder=folder)
    right: dict[str, Right] = {}
    for arm in ARMS:
        weights, name = ("random" if arm == "random" else f"{arm}/{seed}"), f"{arm}-{seed}"
        edgeclf("train", "split.json", *shared, "--weights", weights, *PROBE, "--name", name, folder=folder)
        edgeclf("export", f"runs/{name}", "-t", "onnx", folder=folder)
        right[arm] = _correct(folder / "bundles" / f"{name}-onnx-fp32", folder / "split.json")
    images = len(right["random"])
    last = adapted["epochs"][-1]
    figures = {
        "seed": seed,
        "adaptation_s": adapted["adapted"]["seconds"],
        "last_epoch": {key: round(value, 4) for key, value in last.items() if key != "lr"},
        "top1": {arm: _share(found) for arm, found in right.items()},
        "adapted_over_random": _change(right["random"], right["adapted"], images),
        "adapted_over_statistics": _change(right["statistics"], right["adapted"], images),
    }
    return {"figures": figures, "right": right}


def _correct(bundle: Path, split: Path) -> Right:
    """(N,) whether the bundle predicts each test image of a split correctly."""
    manifest = json.loads(split.read_text(encoding="utf-8"))
    items = [item for item in manifest["items"] if item["split"] == "test"]
    root = split.parent / manifest["root"]
    with Classifier.open(str(bundle)) as classifier:
        predictions = classifier.predict([str(root / item["path"]) for item in items], top=1)
        return np.array([found.label == item["label"] for found, item in zip(predictions, items, strict=True)])


def _share(right: Right) -> dict[str, Any]:
    interval = wilson(float(right.sum()), len(right))
    return {"top1": round(float(right.mean()), 4), "interval": [round(interval.low, 4), round(interval.high, 4)]}


def _change(before: Right, after: Right, images: int) -> dict[str, Any]:
    """In points of top-1, with Tango's two-sided 95 % interval of a paired difference."""
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    bounds = change_bounds(lost, gained, images, Z_TWO_SIDED)
    return {
        "points": round(100 * (gained - lost) / images, 2),
        "interval": [round(100 * bound, 2) for bound in bounds],
        "right_to_wrong": lost,
        "wrong_to_right": gained,
    }


def _mean_change(before: Right, after: Right) -> dict[str, Any]:
    """The mean over the seeds, in points; the interval is over images, which all seeds share."""
    change = (after.astype(float) - before.astype(float)).mean(axis=0)
    found = Resampling(len(change)).interval(lambda weights: (weights @ change) / weights.sum(axis=1))
    return {
        "points": round(100 * float(change.mean()), 2),
        "interval": [round(100 * bound, 2) for bound in (found.low, found.high)] if found else None,
        "method": found.method if found else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--network", default="resnet18", metavar="NAME")
    parser.add_argument("--img-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=8, help="of the adaptation")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = measure(given.data, given.network, given.img_size, given.epochs, given.seeds)
    write_record(given.output, "edgeclf_benchmarks.records.adapt", figures)


if __name__ == "__main__":
    main()
