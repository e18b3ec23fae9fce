"""A small network and the pictures that it tells apart: patches of real photographs."""

from __future__ import annotations

from typing import Any

from edgeclf_runtime.images.pixels import Pixels

SIDE = 24
PATCH_PIXELS = Pixels("exact", (SIDE, SIDE), (SIDE, SIDE))
LABELS = ("astronaut", "chelsea", "china", "coffee")
TRAIN, VAL, TEST = 40, 60, 60  # patches of each photograph


def small_network() -> Any:
    """Convolutions with BatchNorm, one of them depthwise, and a residual addition: what quantizers stumble over."""
    from torch import Tensor, nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
            self.block = nn.Sequential(
                nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU6(),
                nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.BatchNorm2d(32), nn.ReLU6(),
                nn.Conv2d(32, 16, 1), nn.BatchNorm2d(16),
            )  # fmt: skip
            self.wide = nn.Sequential(nn.Conv2d(16, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU())
            self.head = nn.Linear(64, len(LABELS))

        def forward(self, images: Tensor) -> Tensor:
            stem = self.stem(images)
            answers: Tensor = self.head(self.wide(stem + self.block(stem)).mean((2, 3)))
            return answers

    return Network()
