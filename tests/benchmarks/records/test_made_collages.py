"""Collages for the record of several labels: each shows its labels and no others, and no image is used twice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf_benchmarks.records.made_collages import make_collages

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0)}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """20 images of 4 px in each class of each part; those of a class differ in their blue."""
    for part in ("train", "test"):
        for name, (red, green, _) in COLOURS.items():
            folder = tmp_path / "classes" / part / name
            folder.mkdir(parents=True)
            for number in range(20):
                Image.new("RGB", (4, 4), (red, green, number + 100 * (part == "test"))).save(folder / f"{number}.png")
    return tmp_path / "classes"


def test_a_collage_has_the_labels_of_its_images_and_each_image_is_in_one(classes: Path, tmp_path: Path) -> None:
    table = make_collages(classes, tmp_path / "collages", {"train": 6, "val": 4, "test": 6}, 4)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 4 + ["test"] * 6
    used: list[tuple[int, ...]] = []
    for row in rows:
        pixels = np.asarray(Image.open(table.parent / row["path"]))
        cells = [pixels[y, x] for y in (0, 4) for x in (0, 4)]
        coloured = [tuple(cell.tolist()) for cell in cells if {int(cell[0]), int(cell[1])} == {0, 255}]
        names = {next(name for name, (red, *_) in COLOURS.items() if red == cell[0]) for cell in coloured}
        assert set(filter(None, row["labels"].split("|"))) == names
        assert all((cell[2] >= 100) == (row["split"] == "test") for cell in coloured)
        used += coloured
    assert len(set(used)) == len(used) > 8
    with pytest.raises(SystemExit, match="40 images are too few"):
        make_collages(classes, tmp_path / "more", {"train": 200}, 4)
