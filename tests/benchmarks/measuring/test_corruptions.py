"""Pictures are spoilt alike wherever and whenever it is done, harder from level to level, whatever their size."""

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
    corrupt,
    corruptions,
    parse_corruptions,
)
from edgeclf_runtime.errors import UsageError


def _photograph(height: int) -> Image.Image:
    with Image.open(tiny.shipped("china.jpg")) as image:
        found = image.convert("RGB")
    return found.resize((round(found.width * height / found.height), height), Image.Resampling.BOX)


def _change(picture: Image.Image, spoilt: Image.Image) -> float:
    """Mean difference of levels, as the network sees it: at 112 pixels."""
    side = (112, 112)
    seen = [np.asarray(each.resize(side, Image.Resampling.BOX), dtype=np.float64) for each in (picture, spoilt)]
    return float(np.abs(seen[0] - seen[1]).mean())


@pytest.mark.parametrize("name", NAMES)
def test_each_level_spoils_more_than_the_one_before(name: Name) -> None:
    picture = _photograph(224)
    changes = [_change(picture, corrupt(picture, Corruption(name, level), "a")) for level in LEVELS]
    assert 0.2 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_file_is_spoilt_alike_and_keeps_its_size(name: Name) -> None:
    picture, way = _photograph(60), Corruption(name, 2)
    before = picture.tobytes()
    first, again = corrupt(picture, way, "a"), corrupt(picture, way, "a")
    assert (first.size, first.mode) == (picture.size, "RGB")
    assert first.tobytes() == again.tobytes() != before
    assert picture.tobytes() == before


def test_noise_differs_between_files_and_between_levels() -> None:
    picture = Image.new("RGB", (30, 20), (128, 128, 128))
    noises = {corrupt(picture, Corruption("noise", level), file).tobytes() for level in LEVELS for file in "ab"}
    assert len(noises) == 6


@pytest.mark.parametrize("name", [name for name in NAMES if name != "jpeg"])
def test_a_larger_file_of_the_same_picture_is_spoilt_as_much(name: Name) -> None:
    small, large = _photograph(224), _photograph(224).resize((1002, 672), Image.Resampling.NEAREST)
    changes = [_change(picture, corrupt(picture, Corruption(name, 2), "a")) for picture in (small, large)]
    assert changes[1] == pytest.approx(changes[0], rel=0.15)


def test_a_picture_of_one_pixel_survives_everything() -> None:
    for way in corruptions(NAMES):
        assert corrupt(Image.new("RGB", (1, 1)), way, "a").size == (1, 1)


def test_names_are_read_once_each_in_a_fixed_order() -> None:
    assert parse_corruptions("all") == NAMES
    assert parse_corruptions("jpeg, noise,jpeg") == ("noise", "jpeg")
    assert len(corruptions(NAMES)) == 18
    with pytest.raises(UsageError, match=r"no corruption 'fog'; choose of noise, .*, or all"):
        parse_corruptions("noise,fog")
