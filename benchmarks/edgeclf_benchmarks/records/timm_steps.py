"""Training steps of timm's public parts on a GPU in bf16, as a measure of speed: its loader, optimizer and loss.

    python -m edgeclf_benchmarks.records.timm_steps FOLDER -m resnet50 --device cuda --img-size 224 --batch-size 128

Images are decoded beforehand and not augmented; timm's prefetcher sends them to the GPU and normalizes them there.
Prints as JSON the images a second of the last of three epochs, and of a step on one batch that stays on the device.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from PIL import Image

from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

_STEPS = 40  # on one batch, after as many to warm up as timm's epochs have had


class Decoded:
    """Images of one size, decoded once, with the label of their folder; timm's loader sets `transform`."""

    def __init__(self, folder: Path) -> None:
        self.transform: Any = None
        self._items = []
        for label, place in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
            for path in sorted(place.iterdir()):
                with Image.open(path) as image:
                    self._items.append((image.convert("RGB"), label))

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self._items[index]
        return self.transform(image), label


def measure(folder: Path, name: str, device: str, side: int, batch_size: int) -> dict[str, float]:
    guard_torchvision()
    import timm
    import torch
    from timm.data import create_loader
    from timm.optim import create_optimizer_v2

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=2, **({"img_size": side} if name.startswith("vit") else {}))
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=1e-2)
    loader = create_loader(
        Decoded(folder),
        input_size=(3, side, side),
        batch_size=batch_size,
        is_training=True,
        no_aug=True,
        num_workers=8 if device == "cuda" else 1,
        use_prefetcher=device == "cuda",
        device=torch.device(device),
        persistent_workers=True,
    )
    step = _step_of(model, optimizer, device)
    seconds = 0.0
    for _ in range(3):
        start = time.perf_counter()
        for images, labels in loader:
            step(images, labels)
        _finish(device)
        seconds = time.perf_counter() - start
    seen = len(loader) * batch_size  # a last batch that is not full is left out
    for _ in range(3):
        step(images, labels)
    _finish(device)
    start = time.perf_counter()
    steps = _STEPS if device == "cuda" else 2
    for _ in range(steps):
        step(images, labels)
    _finish(device)
    alone = steps * batch_size / (time.perf_counter() - start)
    return {"timm_images_per_s": round(seen / seconds, 1), "step_images_per_s": round(alone, 1)}


def _step_of(model: Any, optimizer: Any, device: str) -> Any:
    import torch
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.utils import dispatch_clip_grad

    criterion = LabelSmoothingCrossEntropy(smoothing=0.1)

    def step(images: Any, labels: Any) -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(model.parameters(), 1.0)
        optimizer.step()

    return step


def _finish(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=128)
    given = parser.parse_args()
    print(json.dumps(measure(given.folder, given.model, given.device, given.img_size, given.batch_size)))


if __name__ == "__main__":
    main()
