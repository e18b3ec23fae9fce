"""Small data sets of real pixels, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf import cli

Cells = dict[str, int]  # folder, relative -> images in it
MakeFolder = Callable[[Cells], Path]


def noise(seed: int, size: tuple[int, int] = (24, 20)) -> Image.Image:
    """An image with large shapes, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """A function that makes an image folder of different images: {"cat": 3, "train/dog": 2} -> its path."""

    def make(cells: Cells) -> Path:
        root = tmp_path / "photos"
        seed = 0
        for folder, images in cells.items():
            (root / folder).mkdir(parents=True)
            for number in range(images):
                noise(seed).save(root / folder / f"{number:03}.png")
                seed += 1
        return root

    return make


@dataclass(frozen=True, slots=True)
class Shown:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def edgeclf(capsys: pytest.CaptureFixture[str]) -> Callable[..., Shown]:
    def run(*arguments: str | Path) -> Shown:
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Shown(code, captured.out, captured.err)

    return run
