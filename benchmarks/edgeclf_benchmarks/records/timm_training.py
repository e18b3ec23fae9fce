"""A training loop from timm's public parts, as a measure of speed: its loader, transforms, optimizer and schedule.

    python -m edgeclf_benchmarks.records.timm_training split.json --img-size 96 --epochs 2

timm's own train.py is not in its wheel. This is the loop of that script with what the wheel holds (create_loader,
create_optimizer_v2, create_scheduler_v2, LabelSmoothingCrossEntropy, dispatch_clip_grad), fp32, channels last, the
script's own augmentation (random resized crop, flip, colour jitter) and a validation pass each epoch. BatchNorm learns
and a last batch that is not full is left out, as there. Prints the seconds and images of each epoch as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.plain_training import TrainingImages
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

_RATE = 3e-4


def run(split: Path, side: int, batch_size: int, epochs: int) -> list[dict[str, float]]:
    guard_torchvision()
    import timm
    import torch
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    manifest = json.loads(split.read_text(encoding="utf-8"))
    # the speed of a step does not depend on the numbers in the weights
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=len(manifest["classes"]))
    model.to(memory_format=torch.channels_last)
    loaders = {name: _loader(manifest, split.parent, name, side, batch_size) for name in ("train", "val")}
    optimizer = create_optimizer_v2(model, opt="adamw", lr=_RATE, weight_decay=1e-2)
    schedule, _ = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=epochs, step_on_epochs=False, updates_per_epoch=len(loaders["train"])
    )
    taken = []
    for epoch in range(epochs):
        start = time.perf_counter()
        _train(model, loaders["train"], optimizer, schedule, epoch)
        _validate(model, loaders["val"])
        taken.append({"seconds": time.perf_counter() - start, "images": len(loaders["train"]) * batch_size})
    return taken


def _loader(manifest: dict[str, Any], folder: Path, split: str, side: int, batch_size: int) -> Any:
    from timm.data import create_loader

    return create_loader(
        TrainingImages(manifest, folder, split, None),  # the loader gives it a transform
        input_size=(3, side, side),
        batch_size=batch_size,
        is_training=split == "train",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        num_workers=max(1, len(os.sched_getaffinity(0)) - 1),
        use_prefetcher=False,  # it is for CUDA
    )


def _train(model: Any, loader: Any, optimizer: Any, schedule: Any, epoch: int) -> None:
    import torch
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.utils import dispatch_clip_grad

    criterion = LabelSmoothingCrossEntropy(smoothing=0.1)
    model.train()
    for number, (images, labels) in enumerate(loader):
        loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(model.parameters(), 1.0)
        optimizer.step()
        schedule.step_update(num_updates=epoch * len(loader) + number + 1)


def _validate(model: Any, loader: Any) -> None:
    import torch

    model.eval()
    with torch.inference_mode():
        for images, _ in loader:
            model(images.contiguous(memory_format=torch.channels_last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    print(json.dumps(run(given.split, given.img_size, given.batch_size, given.epochs)))


if __name__ == "__main__":
    main()
