"""Data sets of real images that come with installed packages: nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf.data.assign import largest_remainder
from edgeclf.data.fetching.fetched import Fetched
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.images.labelled import SPLITS
from edgeclf_runtime.installing import pip_install

BLOCK_PX, PATCH_PX = 96, 48
_FRACTIONS = (0.6, 0.15, 0.25)
_MOST_BLOCKS = 25  # of one photograph: 512x512 px hold 25
_FLATTEST_STD = 2.0
# 16 photographs and micrographs, each unlike the others; of the stereo pair "motorcycle" one.
_PHOTOGRAPHS = {
    "skimage/data": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "cell.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
}


def load_digits(downloads: Path) -> Iterator[Fetched]:
    """scikit-learn's 8x8 scans as they are, 17 grey levels spread over 0..255; the pixel contract enlarges them."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise BackendError(f"digits come with scikit-learn, which is missing: {pip_install('export')}") from error
    digits = load()
    scans = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    for number, (scan, label) in enumerate(zip(scans, digits.target.tolist(), strict=True)):
        yield Fetched(Image.fromarray(scan), str(label), None, f"{number:04}")


def load_photo_patches(downloads: Path) -> Iterator[Fetched]:
    """Grey patches of 48 px; the label is the photograph, the group the 96 px block that four of them come from.

    A block lies wholly in one split. Blocks with a patch of almost one level are left out: black is black in any
    photograph. At most 25 blocks of each, chosen by hash.
    """
    for block in load_blocks():
        yield from block


def load_blocks() -> Iterator[list[Fetched]]:
    """The four patches of each block, photograph by photograph."""
    for path in _photographs():
        label = path.stem
        with Image.open(path) as opened:
            grey = opened.convert("L")
        blocks = [block for block in _blocks(grey) if _has_texture(grey, block)]
        blocks = sorted(blocks, key=lambda block: _chance(label, block))[:_MOST_BLOCKS]
        splits = np.repeat(SPLITS, largest_remainder(len(blocks), _FRACTIONS)).tolist()
        for split, (left, top) in zip(splits, blocks, strict=True):
            group = f"{label}_{top:04}_{left:04}"
            yield [
                Fetched(grey.crop((x, y, x + PATCH_PX, y + PATCH_PX)), label, split, f"{label}_{y:04}_{x:04}", group)
                for x, y in _corners(left, top)
            ]


def _photographs() -> list[Path]:
    paths = []
    for place, names in _PHOTOGRAPHS.items():
        package, _, folder = place.partition("/")
        specification = find_spec(package)
        if specification is None or specification.origin is None:
            raise BackendError(f"the photographs come with {package}, which is missing: {pip_install('export')}")
        paths += [Path(specification.origin).parent / folder / name for name in names]
    return sorted(paths, key=lambda path: path.name)


def _blocks(image: Image.Image) -> list[tuple[int, int]]:
    """Left and top of all whole blocks."""
    return [
        (left, top)
        for top in range(0, image.height - BLOCK_PX + 1, BLOCK_PX)
        for left in range(0, image.width - BLOCK_PX + 1, BLOCK_PX)
    ]


def _corners(left: int, top: int) -> list[tuple[int, int]]:
    return [(left + x, top + y) for y in (0, PATCH_PX) for x in (0, PATCH_PX)]


def _has_texture(grey: Image.Image, block: tuple[int, int]) -> bool:
    levels = np.asarray(grey)
    patches = [levels[y : y + PATCH_PX, x : x + PATCH_PX] for x, y in _corners(*block)]
    return min(float(patch.std()) for patch in patches) >= _FLATTEST_STD


def _chance(label: str, block: tuple[int, int]) -> bytes:
    return hashlib.sha256(f"{label} {block}".encode()).digest()
