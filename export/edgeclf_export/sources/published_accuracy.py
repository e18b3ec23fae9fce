"""ImageNet top-1 as timm and torchvision publish it for the backbones of `model_zoo`: quoted, not measured here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf_runtime.bundle.dataclass_json import from_json

RECORD = Path(__file__).with_name("published_accuracy.json")


@dataclass(frozen=True, slots=True)
class PublishedAccuracy:
    """Top-1 of the weights `weights`, with images of `img_size_px`. `source`: where the figure is published."""

    name: str
    weights: str
    top1_percent: float
    img_size_px: int
    source: str


def published_accuracies() -> dict[str, PublishedAccuracy]:
    """By the backbone's name with its library, such as "timm/resnet50"."""
    content: dict[str, Any] = json.loads(RECORD.read_text())
    sources = content["sources"]
    rows = ({**each, "source": sources[each["name"].partition("/")[0]]} for each in content["backbones"])
    return {row["name"]: from_json(PublishedAccuracy, row, RECORD.name) for row in rows}
