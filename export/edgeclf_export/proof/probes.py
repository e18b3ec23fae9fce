"""Small synthetic images for the golden set: they test the parts of the pixel contract that photographs do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf_runtime.bundle.golden import Probe
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.images.pixels import Pixels

_WIDTH_PX, _HEIGHT_PX = 37, 12  # about three to one: padding and rounded sides show here


def write_probes(folder: Path, pixels: Pixels) -> tuple[Probe, ...]:
    """Writes the images into `folder`, which lies in the bundle, with the digest of what `pixels` make of each."""
    probes = []
    for name, shows, draw in _PROBES:
        file = folder / f"probe_{name}.png"
        draw().save(file, optimize=True)
        found, _ = pixels.load(file)
        probes.append(Probe(f"{folder.name}/{file.name}", pixels_digest(found), shows))
    return tuple(probes)


def _transparent() -> Image.Image:
    """Opaque colours on the left that fade to nothing on the right."""
    colours = np.zeros((_HEIGHT_PX, _WIDTH_PX, 4), dtype=np.uint8)
    colours[..., 0] = np.linspace(0, 255, _HEIGHT_PX)[:, None]
    colours[..., 2] = 200
    colours[..., 3] = np.linspace(255, 0, _WIDTH_PX)
    return Image.fromarray(colours, "RGBA")


def _deep() -> Image.Image:
    """Values of 16 bits whose steps double, so that any other range of them shows."""
    steps = np.geomspace(1, 65535, _WIDTH_PX * _HEIGHT_PX)
    return Image.fromarray(steps.reshape(_HEIGHT_PX, _WIDTH_PX).astype(np.uint16))


_PROBES: tuple[tuple[str, str, Callable[[], Image.Image]], ...] = (
    ("alpha", "the background of transparent pixels", _transparent),
    ("16bit", "the range of 16-bit values", _deep),
)
