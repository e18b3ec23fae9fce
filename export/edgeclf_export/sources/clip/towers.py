"""Image towers of CLIP models as modules of their own: behind a head, or ending in the embedding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeclf_export.sources.clip.models import Clip
from edgeclf_runtime.backends.torch_module import Builder, with_head

if TYPE_CHECKING:
    import torch


def image_tower(visual: torch.nn.Module, *, classes: int, width: int, normalize: bool) -> torch.nn.Module:
    """(N, 3, H, W) -> (N, classes), or the (N, width) embedding for 0 classes; `normalize`: of length 1."""
    return with_head(visual, classes=classes, width=width, normalize=normalize)


def tower_builder(clip: Clip, *, classes: int, normalize: bool) -> Builder:
    """How to build the tower and its head again, from the config alone."""
    config = {key: clip.config[key] for key in ("embed_dim", "vision_cfg", "quick_gelu") if key in clip.config}
    arguments: dict[str, int | bool] = {"num_classes": classes, "normalize": normalize}
    return Builder("open_clip", clip.name, arguments, json.dumps(config, sort_keys=True))
