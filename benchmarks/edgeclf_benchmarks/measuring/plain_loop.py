"""The plain loop as a named reference: PIL, torchvision's transforms and the eager module, one image at a time.

What a tutorial does at inference, with the weights of a pytorch bundle; only where torch is.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_benchmarks.measuring.contenders import Opened, pixels_of
from edgeclf_runtime.backends.engine import OWN_DEVICE, SessionOptions
from edgeclf_runtime.backends.torch_module import BACKEND, MODEL, WEIGHTS, Builder, build_module
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json
from edgeclf_runtime.images.pixels import Pixels

NAME = "plain loop"


@dataclass(frozen=True, slots=True)
class PlainLoop:
    """The weights of a pytorch bundle in a loop without edgeclf's runtime."""

    bundle: Bundle
    name: str = NAME
    largest_batch: int | None = 1

    def open(self, options: SessionOptions) -> Opened:
        guard_torchvision()
        import torch
        from safetensors.torch import load

        torch.set_num_threads(options.thread_count)
        builder = from_json(Builder, json.loads(self.bundle.read(MODEL)), f"{self.bundle.path}/{MODEL}")
        module = build_module(builder)
        module.load_state_dict(load(self.bundle.read(WEIGHTS)), strict=True)
        device = torch.device("cpu" if options.device == OWN_DEVICE else options.device)
        module = module.to(device).eval()
        transform = transform_of(self.bundle)

        def prepare(files: Sequence[bytes]) -> Any:
            (data,) = files
            with Image.open(io.BytesIO(data)) as image:
                return transform(image.convert("RGB")).unsqueeze(0)

        def infer(tensor: Any) -> NDArray[np.floating]:
            with torch.no_grad():
                return np.asarray(module(tensor.to(device)).cpu().numpy())

        info = {"engine": "torch", "engine_version": torch.__version__, "device": str(device)}
        return Opened(prepare, infer, lambda: None, "fp32", {**info, "threads": str(options.thread_count)})


def can_stand_for(bundle: Bundle) -> bool:
    """Whether a plain loop can run a bundle: torch is installed, fp32, and torchvision has its geometry."""
    manifest = bundle.manifest
    return (
        manifest.target == BACKEND.name
        and manifest.compute_precision == "fp32"
        and manifest.normalization is not None
        and pixels_of(bundle).resize in ("shorter", "exact")
        and importlib.util.find_spec("torchvision") is not None
    )


def transform_of(bundle: Bundle) -> Any:
    """torchvision's Resize, CenterCrop, ToTensor and Normalize with the bundle's numbers."""
    from torchvision import transforms

    pixels, normalization = pixels_of(bundle), bundle.manifest.normalization
    assert normalization is not None  # can_stand_for
    return transforms.Compose(
        [
            transforms.Resize(_size(pixels), transforms.InterpolationMode(pixels.interpolation)),
            transforms.CenterCrop(list(pixels.crop_px)),
            transforms.ToTensor(),
            transforms.Normalize(normalization.mean, normalization.std),
        ]
    )


def _size(pixels: Pixels) -> int | list[int]:
    return pixels.resize_px[0] if pixels.resize == "shorter" else list(pixels.resize_px)
