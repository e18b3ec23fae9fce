"""The training loop of a tutorial, as the measure of speed: PIL, torchvision's transforms, fp32, one loop.

    python -m edgeclf_benchmarks.records.plain_training split.json --img-size 96 --epochs 2 [--frozen]

Written as one finds it in introductions: resize, random crop, flip and colour jitter in a DataLoader's workers, AdamW,
label smoothing, clipped gradients, a validation pass each epoch; with --frozen only the new head learns, and the frozen
backbone runs again in every epoch. Prints the seconds and images of each epoch as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from PIL import Image

from edgeclf_runtime.backends.torchvision_guard import guard_torchvision


class TrainingImages:
    """(tensor, class number) of one split of a split manifest, as torchvision's ImageFolder gives them."""

    def __init__(self, manifest: dict[str, Any], folder: Path, split: str, transform: Any) -> None:
        root = folder / manifest["root"]
        places = {label: number for number, label in enumerate(manifest["classes"])}
        self._items = [(root / i["path"], places[i["label"]]) for i in manifest["items"] if i["split"] == split]
        self.transform = transform

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, number = self._items[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), number


def transforms_of(side: int) -> tuple[Any, Any]:
    """The training and the validation transform, for the mean and deviation of 0.5 of EfficientNet-Lite."""
    from torchvision import transforms

    end = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    resized = round(side / 0.875)
    start = [transforms.Resize(resized), transforms.RandomCrop(side), transforms.RandomHorizontalFlip()]
    jitter = transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05)
    train = transforms.Compose([*start, jitter, *end])
    return train, transforms.Compose([transforms.Resize(resized), transforms.CenterCrop(side), *end])


def run(split: Path, side: int, batch_size: int, epochs: int, *, frozen: bool) -> list[dict[str, float]]:
    guard_torchvision()
    import timm
    import torch
    from torch import nn

    manifest = json.loads(split.read_text(encoding="utf-8"))
    # the speed of a step does not depend on the numbers in the weights
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=len(manifest["classes"]))
    if frozen:
        for parameter in model.parameters():
            parameter.requires_grad = False
        model.classifier.requires_grad_(True)
    datasets = {
        name: TrainingImages(manifest, split.parent, name, transform)
        for name, transform in zip(("train", "val"), transforms_of(side), strict=True)
    }
    workers = max(1, len(os.sched_getaffinity(0)) - 1)
    loaders: dict[str, Any] = {
        name: torch.utils.data.DataLoader(
            part,  # type: ignore[arg-type]
            batch_size=batch_size,
            shuffle=name == "train",
            num_workers=workers,
        )
        for name, part in datasets.items()
    }
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4, weight_decay=1e-2)
    taken = []
    for _ in range(epochs):
        start = time.perf_counter()
        for name, loader in loaders.items():
            learning = name == "train"
            model.train(learning)
            with torch.set_grad_enabled(learning):
                for images, labels in loader:
                    loss = criterion(model(images), labels)
                    if learning:
                        optimizer.zero_grad()
                        loss.backward()
                        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                        optimizer.step()
        taken.append({"seconds": time.perf_counter() - start, "images": len(datasets["train"])})
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--frozen", action="store_true")
    given = parser.parse_args()
    print(json.dumps(run(given.split, given.img_size, given.batch_size, given.epochs, frozen=given.frozen)))


if __name__ == "__main__":
    main()
