"""The preview shows what is trained on: classes by name, mixed images as they are, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf import cli
from edgeclf.data.split import open_data
from edgeclf.training.inputs.augment import Augmenter, Switches
from edgeclf.training.inputs.preview import _samples, draw_preview
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.pixels import Pixels

PIXELS = Pixels("shorter", (32, 32), (32, 32), "bicubic")
COLOURS = {"red": (220, 0, 0), "green": (0, 220, 0)}


def test_mixed_images_show_both_classes_and_the_share_of_each() -> None:
    images = [Image.new("RGB", (40, 40), colour) for colour in COLOURS.values()]
    augmenter = Augmenter("strong", Switches(), PIXELS, 0)
    labelled = [LabelledImage(Path(), name, (name,)) for name in COLOURS]
    mixup, cutmix = _samples(augmenter, "strong", images, labelled, 2, 0)
    for name, made in (("MixUp", mixup), ("CutMix", cutmix)):
        for _, caption in made:
            assert caption.startswith(f"{name}: ") and "% red" in caption and "% green" in caption


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, colour in COLOURS.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            place = tmp_path / "photos" / label / f"{number}.png"
            Image.new("RGB", (40, 40), (colour[0], colour[1], 8 * number)).save(place)
    return tmp_path / "photos"


def test_a_recipe_that_changes_nothing_shows_each_image_once(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "preview.png"
    draw_preview(open_data(photos, 0), PIXELS, sheet, recipes=("none", "light"), images_shown=2, samples=2)
    with Image.open(sheet) as opened:
        seen = np.asarray(opened.convert("RGB"))
    band = seen.shape[0] // 2
    counts = [int((each.max(axis=2) - each.min(axis=2) > 100).sum()) for each in (seen[:band], seen[band:])]
    assert counts == [2 * 32 * 32, 6 * 32 * 32]


def test_the_next_image_is_shown_for_an_unusable_one_and_strict_stops(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_data(photos, 0)
    first = data.of("train")[0]
    first.path.write_text("no image")
    sheet = tmp_path / "preview.png"
    (bad,) = draw_preview(data, PIXELS, sheet, recipes=("none",), images_shown=2, samples=1)
    assert bad.path == first.name
    with Image.open(sheet) as opened:
        seen = np.asarray(opened.convert("RGB"))
    assert int((seen.max(axis=2) - seen.min(axis=2) > 100).sum()) == 2 * 32 * 32
    options = ["--augment", "none", "--img-size", "32", "--bit-depth", "12", "-o", str(tmp_path / "typed.png")]
    assert cli.run(["data", "preview", str(photos), *options]) == 0
    printed = capsys.readouterr().err
    assert f"warning: 1 image can't be used and left out: {first.name} (" in printed
    assert printed.rstrip().endswith("--augment none --bit-depth 12")
    assert cli.run(["data", "preview", str(photos), *options, "--strict", "--force"]) == 3
    for image in data.of("train"):
        image.path.write_text("no image")
    with pytest.raises(DataError, match="images can't be used"):
        draw_preview(data, PIXELS, tmp_path / "none.png")
