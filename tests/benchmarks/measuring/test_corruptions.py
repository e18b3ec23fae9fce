"""A corruption is the same on every machine and in every run, stronger from level to level, for images of any size."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf_benchmarks.measuring.corruptions import (
    LEVELS,
    NAMES,
    Corruption,
    Name,
    at_each_level,
    corrupt,
    parse_corruptions,
)
from edgeclf_runtime.errors import UsageError


def _photograph(height: int) -> Image.Image:
    with Image.open(tiny.shipped("china.jpg")) as image:
        found = image.convert("RGB")
    return found.resize((round(found.width * height / found.height), height), Image.Resampling.BOX)


def _change(image: Image.Image, corrupted: Image.Image) -> float:
    """Mean difference of levels, as the network sees it: at 112 pixels."""
    side = (112, 112)
    seen = [np.asarray(each.resize(side, Image.Resampling.BOX), dtype=np.float64) for each in (image, corrupted)]
    return float(np.abs(seen[0] - seen[1]).mean())


@pytest.mark.parametrize("name", NAMES)
def test_each_level_changes_more_than_the_one_before(name: Name) -> None:
    image = _photograph(224)
    changes = [_change(image, corrupt(image, Corruption(name, level), "a")) for level in LEVELS]
    assert 0.2 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_file_is_corrupted_alike_and_keeps_its_size(name: Name) -> None:
    image, corruption = _photograph(60), Corruption(name, 2)
    before = image.tobytes()
    first, again = corrupt(image, corruption, "a"), corrupt(image, corruption, "a")
    assert (first.size, first.mode) == (image.size, "RGB")
    assert first.tobytes() == again.tobytes() != before
    assert image.tobytes() == before


def test_noise_differs_between_files_and_between_levels() -> None:
    image = Image.new("RGB", (30, 20), (128, 128, 128))
    noises = {corrupt(image, Corruption("noise", level), file).tobytes() for level in LEVELS for file in "ab"}
    assert len(noises) == 6


@pytest.mark.parametrize("name", [name for name in NAMES if name != "jpeg"])
def test_a_larger_file_of_the_same_image_is_corrupted_as_much(name: Name) -> None:
    small, large = _photograph(224), _photograph(224).resize((1002, 672), Image.Resampling.NEAREST)
    changes = [_change(image, corrupt(image, Corruption(name, 2), "a")) for image in (small, large)]
    assert changes[1] == pytest.approx(changes[0], rel=0.15)


def test_an_image_of_one_pixel_survives_every_corruption() -> None:
    for each in at_each_level(NAMES):
        assert corrupt(Image.new("RGB", (1, 1)), each, "a").size == (1, 1)


def test_names_are_read_once_each_in_a_fixed_order() -> None:
    assert parse_corruptions("all") == NAMES
    assert parse_corruptions("jpeg, noise,jpeg") == ("noise", "jpeg")
    assert len(at_each_level(NAMES)) == 18
    with pytest.raises(UsageError, match=r"no corruption 'fog'; choose from noise, .*, or all"):
        parse_corruptions("noise,fog")
