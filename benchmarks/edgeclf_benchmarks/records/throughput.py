"""What makes an epoch faster: edgeclf's ways, a tutorial's loop and one of timm's parts, in turns on the same images.

    python -m edgeclf_benchmarks.records.throughput --data FOLDER -o benchmarks/results/throughput.json

EfficientNet-Lite0, the same batch and image size, fp32 unless a way says otherwise, each way in a process of its
own. A fifth of the images validates, unless the data brings its own split. Counted is the last epoch of each process,
training and validation, decoding and augmentation included; those before warm up. A ratio is that of one round. A
round, but for the first, starts only if one as long as the longest yet ends within --seconds. `waiting_share` is the
part of the training steps spent waiting for images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf, run_json
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_benchmarks.records.training import BACKBONE

LOOPS = {
    "plain loop": "edgeclf_benchmarks.records.plain_training",
    "loop of timm's parts": "edgeclf_benchmarks.records.timm_training",
}
FULL = (*BACKBONE, "--strategy", "full", "--batch-norm", "learn", "--image-cache")
WAYS = {
    "edgeclf": (*FULL, "on"),
    "edgeclf, decoding anew": (*FULL, "off"),
    "edgeclf, channels first": (*FULL, "on", "--no-channels-last"),
    "edgeclf, bf16": (*FULL, "on", "--amp", "bf16"),
}
PAIRS = {  # numerator over denominator, of images a second
    "edgeclf over the plain loop": ("edgeclf", "plain loop"),
    "edgeclf over timm's parts": ("edgeclf", "loop of timm's parts"),
    "pictures decoded once over anew": ("edgeclf", "edgeclf, decoding anew"),
    "channels last over first": ("edgeclf", "edgeclf, channels first"),
    "bf16 over fp32": ("edgeclf, bf16", "edgeclf"),
}


def measure(data: Path, side: int, epochs: int, seconds: float) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in (*LOOPS, *WAYS)}
    waiting: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = ("--fractions", "0.8,0.2,0")
        counts = edgeclf("data", "split", str(data.resolve()), "-o", "split.json", *parts, folder=folder)["counts"]
        images = sum(counts["train"].values())
        sizes = ("split.json", "--img-size", str(side), "--epochs", str(epochs))
        end, longest = time.monotonic() + seconds, 0.0
        while not rates["edgeclf"] or time.monotonic() + longest < end:
            start = time.monotonic()
            for name, module in LOOPS.items():
                last = run_json(module, *sizes, folder=folder)[-1]
                rates[name].append(last["images"] / last["seconds"])
            for name, options in WAYS.items():
                run = f"{len(rates[name])}-{len(name)}"
                found = edgeclf("train", *sizes, *options, "--name", run, folder=folder)["epochs"][-1]
                rates[name].append(images / found["seconds"])
                waiting[name].append(found["waiting_s"] / found["training_s"])
            longest = max(longest, time.monotonic() - start)
            print({name: round(found[-1], 1) for name, found in rates.items()}, file=sys.stderr)
    return {
        "backbone": "tf_efficientnet_lite0",
        "img_size_px": side,
        "batch_size": 32,
        "training_images": images,
        "images_per_s": {name: spread(found, 1) for name, found in rates.items()},
        "waiting_share": {name: spread(found, 3) for name, found in waiting.items()},
        "times_faster": {
            name: spread([a / b for a, b in zip(rates[over], rates[under], strict=True)], 2)
            for name, (over, under) in PAIRS.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=2, help="in each process; the last one counts")
    parser.add_argument("--seconds", type=float, default=300, help="the rounds end within them, but for a first one")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = measure(given.data, given.img_size, given.epochs, given.seconds)
    write_record(given.output, "edgeclf_benchmarks.records.throughput", figures)


if __name__ == "__main__":
    main()
