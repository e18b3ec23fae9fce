"""Real small images as a data set, crops of photographs, a class each, and the baseline made of it: fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf.baselines.baseline import Baseline, BaselineOptions, make_baseline
from edgeclf.data.split import open_data
from edgeclf_runtime.images.data_split import DataSplit

PHOTOGRAPHS = {"cat": "chelsea.png", "pagoda": "china.jpg", "petals": "flower.jpg"}
Crop = Callable[[str, Path, int], None]


def write_crops(photograph: str, folder: Path, count: int, seed: int = 0) -> None:
    """Writes `count` crops of 48 pixels as PNG."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    with Image.open(tiny.shipped(photograph)) as opened:
        picture = opened.convert("RGB")
    for number in range(count):
        left, top = random.integers(0, picture.width - 48), random.integers(0, picture.height - 48)
        picture.crop((left, top, left + 48, top + 48)).save(folder / f"{number:03}.png")


@pytest.fixture
def crop() -> Crop:
    return write_crops


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 crops of each of three photographs, as an image folder."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for label, photograph in PHOTOGRAPHS.items():
        write_crops(photograph, root / label, 40)
    return root


@pytest.fixture(scope="session")
def data(photos: Path) -> DataSplit:
    return open_data(photos)


@pytest.fixture(scope="session")
def made(data: DataSplit, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """One baseline for all tests that only read it; its test split has been used once, wherever else it is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return make_baseline(data, BaselineOptions(output=tmp_path_factory.mktemp("bundles")))
