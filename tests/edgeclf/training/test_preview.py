"""The preview shows what is trained on: classes by name, mixed images as they are, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf.data.split import open_data
from edgeclf.training.inputs.augment import Augmenter, Switches
from edgeclf.training.inputs.preview import _samples, draw_preview
from edgeclf_runtime.images.pixels import Pixels

PIXELS = Pixels("shorter", (32, 32), (32, 32), "bicubic")
COLOURS = {"red": (220, 0, 0), "green": (0, 220, 0)}


def test_mixed_images_show_both_classes_and_the_share_of_each() -> None:
    images = [Image.new("RGB", (40, 40), colour) for colour in COLOURS.values()]
    augmenter = Augmenter("strong", Switches(), PIXELS, 0)
    mixup, cutmix = _samples(augmenter, "strong", images, list(COLOURS), 2, 0)
    for name, made in (("MixUp", mixup), ("CutMix", cutmix)):
        for _, caption in made:
            assert caption.startswith(f"{name}: ") and "% red" in caption and "% green" in caption


def test_a_recipe_that_changes_nothing_shows_each_image_once(tmp_path: Path) -> None:
    for label, colour in COLOURS.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(8):
            place = tmp_path / "photos" / label / f"{number}.png"
            Image.new("RGB", (40, 40), (colour[0], colour[1], 8 * number)).save(place)
    sheet = tmp_path / "preview.png"
    draw_preview(open_data(tmp_path / "photos", 0), PIXELS, sheet, recipes=("none", "light"), images_shown=2, samples=2)
    with Image.open(sheet) as opened:
        seen = np.asarray(opened.convert("RGB"))
    band = seen.shape[0] // 2
    counts = [int((each.max(axis=2) - each.min(axis=2) > 100).sum()) for each in (seen[:band], seen[band:])]
    assert counts == [2 * 32 * 32, 6 * 32 * 32]
