"""Collages of class folders: images that show several classes, or none, made of images that show one each."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.images.decode import find_images

_CLOUDS_PX = 6  # of the random levels that become the background
_CELLS = (0, 1, 1, 1, 2, 2, 2, 2, 3, 3)  # how many of the four are filled: one of these, each as likely


def make_collages(classes: Path, folder: Path, counts: dict[str, int], cell_px: int) -> Path:
    """Writes so many collages of each split, and the table of their labels; each image is used once at most.

    `classes` has the folders train and test, with a folder a class in each; validation images are made of train's.
    Raises SystemExit where they hold too few images.
    """
    table = folder / "images.csv"
    if table.exists():
        return table
    chance, rows = random.Random(0), []
    folder.mkdir(parents=True, exist_ok=True)
    pools = {part: _shuffled(classes / part, chance) for part in ("train", "test")}
    for split, count in counts.items():
        pool = pools["test" if split == "test" else "train"]
        for number in range(count):
            name = f"{split}_{number:04}"
            labels = _write([next(pool) for _ in range(chance.choice(_CELLS))], folder / f"{name}.png", cell_px)
            rows.append((f"{name}.png", "|".join(labels), split))
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    return table


def _shuffled(folder: Path, chance: random.Random) -> Iterator[Path]:
    files = find_images(folder)[0]
    chance.shuffle(files)
    yield from files
    raise SystemExit(f"{folder}: {len(files)} images are too few for the collages")


def _write(files: Sequence[Path], place: Path, cell_px: int) -> list[str]:
    """Writes one collage, the images in random corners on clouds; its labels."""
    chance = np.random.default_rng(list(hashlib.sha256(place.stem.encode()).digest()))
    levels: NDArray[np.uint8] = chance.integers(0, 256, (_CLOUDS_PX, _CLOUDS_PX), dtype=np.uint8)
    collage = Image.fromarray(levels).resize((2 * cell_px, 2 * cell_px), Image.Resampling.BICUBIC).convert("RGB")
    corners = [(x, y) for y in (0, cell_px) for x in (0, cell_px)]
    for file, corner in zip(files, chance.permutation(len(corners)).tolist(), strict=False):
        collage.paste(Image.open(file).convert("RGB").resize((cell_px, cell_px)), corners[corner])
    collage.save(place)
    return sorted({file.parent.name for file in files})
