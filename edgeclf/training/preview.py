"""A contact sheet of what a recipe makes of training pictures, so that harm is seen before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from edgeclf.data.split import SplitManifest
from edgeclf.training.augment import RECIPES, Augmenter, Switches
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images import decode
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.writer import writing

_GAP_PX, _TITLE_PX = 4, 18


def draw_preview(
    data: SplitManifest,
    pixels: Pixels,
    destination: Path,
    *,
    recipes: Sequence[str] = tuple(RECIPES),
    switches: Switches = Switches(),
    pictures: int = 4,
    samples: int = 3,
    seed: int = 0,
    force: bool = False,
) -> None:
    """One band a recipe: for each of some training pictures the picture as the device sees it, then augmented samples.

    Raises DataError for a picture that can't be read, UsageError where `destination` exists without `force`.
    """
    items = data.of("train")
    if not items:
        raise DataError(f"{data.root}: no training images to show")
    chosen = [items[i * len(items) // min(pictures, len(items))] for i in range(min(pictures, len(items)))]
    images = []
    for item in chosen:
        try:
            images.append(
                decode(data.path_of(item), background=pixels.background, value_range=pixels.value_range).image
            )
        except ImageError as error:
            raise DataError(f"{data.path_of(item)}: {error}") from error
    height, width = pixels.crop_px
    columns = len(images) * (samples + 1)
    band = _TITLE_PX + height + _GAP_PX
    sheet = Image.new("RGB", (columns * (width + _GAP_PX), len(recipes) * band), "white")
    pen = ImageDraw.Draw(sheet)
    for row, recipe in enumerate(recipes):
        augmenter = Augmenter(recipe, switches, pixels, seed)
        pen.text((2, row * band + 3), f"{recipe}: {RECIPES[recipe].contents}", fill="black")
        for number, image in enumerate(images):
            shown = [pixels.apply(image), *(augmenter(image, sample, number) for sample in range(samples))]
            for place, picture in enumerate(shown):
                left = (number * (samples + 1) + place) * (width + _GAP_PX)
                sheet.paste(Image.fromarray(picture), (left, row * band + _TITLE_PX))
    with writing(destination, force=force) as draft:
        sheet.save(draft, format="PNG")
