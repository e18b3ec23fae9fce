"""Images a second that well-known backbones train at in bf16, and a two-phase fine-tune from images to a bundle.

    python -m edgeclf_benchmarks.records.training_steps --data FOLDER -o benchmarks/results/training_steps.json

For one GPU; it runs the same way on a CPU, where --quick (few tiny images) tries it out. Each backbone trains from
random weights, all of it, BatchNorm too, on noise that stays decoded in memory and is not augmented; the last of the
epochs counts, without validation. `images_per_s` is of the whole steps, `computed_images_per_s` leaves out their
waiting time for images. `timm_images_per_s` is a loop of timm's parts on the same images, decoded beforehand, too;
`step_images_per_s` a step on one batch that stays on the device: nothing trains faster with PyTorch as it comes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgeclf_benchmarks.records.commands import edgeclf, run_json
from edgeclf_benchmarks.records.record import write_record
from edgeclf_benchmarks.records.training import BACKBONE

BACKBONES = ("resnet50", "mobilenetv3_large_100", "efficientnet_b0", "vit_base_patch16_224")
FROM_RANDOM = ("--weights", "random", "--strategy", "full", "--batch-norm", "learn")
STEP = (*FROM_RANDOM, "--augment", "none", "--image-cache", "on", "--warmup-epochs", "0", "--epochs", "3")


def measure(data: Path, device: str, batch_size: int, side: int, images: int) -> Iterator[dict[str, Any]]:
    """The figures so far, after each network."""
    sizes_px = {"img_size_px": side, "batch_size": batch_size, "device": device, "precision": "bf16"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        noise = make_noise(folder / "noise", images, side)
        rates = {}
        for name in BACKBONES:
            sizes = ("--img-size", str(side), "--batch-size", str(batch_size), "--amp", "bf16", "--device", device)
            found = edgeclf("train", str(noise), "-m", name, *STEP, *sizes, "--name", name, folder=folder)
            bare = run_json(
                *("edgeclf_benchmarks.records.timm_steps", str(noise), "-m", name, "--device", device),
                *("--img-size", str(side), "--batch-size", str(batch_size)),
                folder=folder,
            )
            last, trained = found["epochs"][-1], found["outcome"]["training_images"]
            rates[name] = {
                "images_per_s": round(trained / last["training_s"], 1),
                "computed_images_per_s": round(trained / (last["training_s"] - last["waiting_s"]), 1),
                **bare,
            }
            print(f"{name}: {rates[name]}", file=sys.stderr)
            yield {**sizes_px, "backbones": rates}
        yield {**sizes_px, "backbones": rates, "two_phase": fine_tune(data.resolve(), device, side, folder)}


def make_noise(folder: Path, count: int, side: int) -> Path:
    """A folder of two classes of `count` images in all."""
    random = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"class-{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(place / f"{number}.bmp")
    return folder


def fine_tune(data: Path, device: str, side: int, folder: Path) -> dict[str, Any]:
    """Seconds from a folder of images to a proven ONNX bundle, as a user types it."""
    start = time.perf_counter()
    options = (*BACKBONE, "--img-size", str(side), "--epochs", "3", "--device", device, "--name", "tuned")
    trained = edgeclf("train", str(data), *options, folder=folder)
    trained_s = time.perf_counter() - start
    edgeclf("export", "runs/tuned", "--target", "onnx", folder=folder)
    return {
        "training_images": trained["outcome"]["training_images"],
        "val_top1_selected": trained["outcome"]["scores"]["val_top1"],
        "train_s": round(trained_s, 1),
        "train_and_export_s": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="for the fine-tune")
    parser.add_argument("--device", default="cuda", help="cuda or cpu; never replaced by another")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=8192, help="of noise")
    parser.add_argument("--quick", action="store_true", help="32 images of 64 pixels, on the cpu")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    sizes = ("cpu", 8, 64, 32) if given.quick else (given.device, given.batch_size, 224, given.images)
    for figures in measure(given.data, *sizes):
        write_record(given.output, "edgeclf_benchmarks.records.training_steps", figures)


if __name__ == "__main__":
    main()
