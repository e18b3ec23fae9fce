"""Tiny bundles and images: an 8x8 linear classifier of red, green and blue."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends.reference import MODEL, LinearEngine
from edgeclf_runtime.bundle.atomic_write import seal, writing
from edgeclf_runtime.bundle.golden import Golden, GoldenImage
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, Provenance, Reference, TensorSpec, Thresholds
from edgeclf_runtime.bundle.proof import TOLERANCES
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.images.pixels import Pixels

COLOURS = {"red": (220, 30, 40), "green": (20, 200, 60), "blue": (30, 60, 230)}
PIXELS = Pixels("shorter", (8, 8), (8, 8), "bicubic")
Make = Callable[..., Path]


def picture(colour: str, size: tuple[int, int] = (12, 10), seed: int = 0) -> Image.Image:
    """A noisy image whose mean colour is `colour`."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def build_bundle(
    place: Path,
    labels: tuple[str, ...] = ("red", "green", "blue"),
    *,
    images: int = 9,
    wrong: bool = False,
    **changes: Any,
) -> Path:
    """A sealed reference bundle at `place`; `wrong` gives reference outputs that the engine does not have."""
    weight = np.zeros((8 * 8 * 3, 3), dtype=np.float32)
    for channel in range(3):
        weight[channel::3, channel] = 8 / 64
    engine = LinearEngine(weight, np.zeros(3, dtype=np.float32))
    with writing(place) as draft:
        (draft / "golden").mkdir(parents=True)
        np.savez(draft / MODEL, weight=weight, bias=np.zeros(3, dtype=np.float32))
        golden, batch = [], []
        for number in range(images):
            image = picture(tuple(COLOURS)[number % 3], seed=number)
            pixels = PIXELS.apply(image)
            golden.append(_golden(draft, number, image, pixels))
            batch.append(pixels)
        outputs = engine.infer(np.stack(batch))
        np.save(draft / "golden/outputs.npy", outputs[:, ::-1] if wrong else outputs)
        seal(draft, replace(_manifest(labels, Golden(tuple(golden), "golden/outputs.npy")), **changes))
    return place


def _golden(draft: Path, number: int, image: Image.Image, pixels: NDArray[np.uint8]) -> GoldenImage:
    names = f"golden/{number}.png", f"golden/{number}.pixels.png"
    (draft / names[0]).write_bytes(png(image))
    (draft / names[1]).write_bytes(png(Image.fromarray(pixels)))
    return GoldenImage(*names, pixels_digest(pixels))


def _manifest(labels: tuple[str, ...], golden: Golden) -> Manifest:
    return Manifest(
        task="classify",
        state="built",
        target="reference",
        inputs=(TensorSpec("pixels", "uint8", "NHWC", ("batch", 8, 8, 3)),),
        outputs=(TensorSpec("logits", "float32", "NC", ("batch", 3)),),
        labels=labels,
        scores="softmax",
        pixels=PIXELS,
        normalization=Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        weights_precision="fp32",
        compute_precision="fp32",
        tolerances=TOLERANCES["fp32"],
        provenance=Provenance("linear", "by hand", "2026-01-02T03:04:05Z", {"numpy": np.__version__}),
        reference=Reference("numpy", "linear"),
        golden=golden,
        thresholds=Thresholds(),
    )


@pytest.fixture
def make_bundle() -> Make:
    """A function that makes a bundle at a path: (place, labels, images=…, wrong=…, manifest fields) -> place."""
    return build_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_bundle(tmp_path / "colours")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a red, a green and a blue image, and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in COLOURS:
        picture(colour).save(folder / f"{colour}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def classes(tmp_path: Path, photos: Path) -> Path:
    """A folder a colour, ten images each."""
    from PIL import ImageEnhance

    root = tmp_path / "colours-data"
    for colour in ("red", "green", "blue"):
        (root / colour).mkdir(parents=True)
        for number in range(10):
            with Image.open(photos / f"{colour}.png") as image:
                ImageEnhance.Brightness(image).enhance(0.7 + 0.03 * number).save(root / colour / f"{number}.png")
    return root
