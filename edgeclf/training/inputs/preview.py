"""A contact sheet of augmented training images, so that a recipe that distorts too much is seen before training."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgeclf.console import inert
from edgeclf.data.usable import Unreadable, refuse_unusable
from edgeclf.training.choices import RecipeName
from edgeclf.training.inputs.augment import RECIPES, Augmenter, Switches
from edgeclf.training.inputs.mixing import mix
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage, all_labels, label_targets
from edgeclf_runtime.images.pixels import Pixels

_GAP_PX, _TITLE_PX, _LINE_PX, _LINES, _CHARACTER_PX = 6, 22, 12, 4, 6
_TRIES = 30
Shown = tuple[NDArray[np.uint8], str]  # (H, W, 3) RGB, and the caption below it


def draw_preview(
    data: DataSplit,
    pixels: Pixels,
    destination: Path,
    *,
    recipes: Sequence[RecipeName] = tuple(RECIPES),
    switches: Switches = Switches(),
    images_shown: int = 4,
    samples: int = 3,
    seed: int = 0,
    strict: bool = False,
    force: bool = False,
) -> tuple[Unreadable, ...]:
    """One band per recipe: for each of some training images what the device sees, and what is trained on.

    A recipe that mixes images shows the mixed ones with the share of each class; one that changes nothing shows each
    image once. In place of an image that can't be used the next one is shown; those are returned.

    Raises DataError where no image can be used, or with `strict` one of them can't; UsageError where `destination`
    exists without `force`.
    """
    labelled = data.of("train")
    if not labelled:
        raise DataError(f"{data.root}: no training images to show")
    images, chosen, unusable = _choose(labelled, pixels, images_shown)
    if unusable and (strict or not images):
        refuse_unusable(data, unusable)
    height, width = pixels.crop_px
    column, band = width + _GAP_PX, _TITLE_PX + height + _LINES * _LINE_PX + _GAP_PX
    sheet = Image.new("RGB", (len(images) * (samples + 1) * column, len(recipes) * band), "white")
    pen, heading, small = ImageDraw.Draw(sheet), ImageFont.load_default(14), ImageFont.load_default(10)
    for row, recipe in enumerate(recipes):
        top = row * band
        pen.text((2, top + 3), f"{recipe}: {RECIPES[recipe].contents}", fill="black", font=heading)
        augmenter = Augmenter(recipe, switches, pixels, seed)
        plain = recipe == "none" and not switches.any
        made = [] if plain else _samples(augmenter, recipe, images, chosen, samples, seed)
        for number, image in enumerate(images):
            shown = [(pixels.apply(image), chosen[number].label_text), *(each[number] for each in made)]
            for place, (array, caption) in enumerate(shown):
                left = (number * (samples + 1) + place) * column
                sheet.paste(Image.fromarray(array), (left, top + _TITLE_PX))
                for line, words in enumerate(_folded(caption, width)):
                    under = (left, top + _TITLE_PX + height + 1 + line * _LINE_PX)
                    pen.text(under, words, fill="#444", font=small)
    with writing(destination, force=force) as draft:
        sheet.save(draft, format="PNG")
    return unusable


def _choose(
    labelled: Sequence[LabelledImage], pixels: Pixels, most: int
) -> tuple[list[Image.Image], list[LabelledImage], tuple[Unreadable, ...]]:
    """Images from all over the data, what is known of them, and those that can't be used and gave way to the next."""
    count = min(most, len(labelled))
    starts = [number * len(labelled) // count for number in range(count + 1)]
    images, chosen, unusable = [], [], []
    for start, end in pairwise(starts):
        for image in labelled[start:end]:
            try:
                images.append(decode(image.read(), background=pixels.background, value_range=pixels.value_range).image)
            except ImageError as error:
                unusable.append(Unreadable(image.name, str(error)))
                continue
            chosen.append(image)
            break
    return images, chosen, tuple(unusable)


def _samples(
    augmenter: Augmenter,
    recipe: RecipeName,
    images: Sequence[Image.Image],
    chosen: Sequence[LabelledImage],
    samples: int,
    seed: int,
) -> list[list[Shown]]:
    """For each sample, what training sees of each image."""
    drawn = [[augmenter(image, sample, number) for number, image in enumerate(images)] for sample in range(samples)]
    mixup, cutmix = RECIPES[recipe].mixing
    if not (mixup or cutmix) or len(images) < 2:
        return [[(image, "") for image in each] for each in drawn]
    names = (("MixUp", mixup, 0.0), ("CutMix", 0.0, cutmix))  # in turns: training draws one of them for each batch
    return [list(_mixed(each, chosen, *names[place % 2], seed + place)) for place, each in enumerate(drawn)]


def _mixed(
    batch: Sequence[NDArray[np.uint8]],
    chosen: Sequence[LabelledImage],
    name: str,
    mixup: float,
    cutmix: float,
    seed: int,
) -> Iterator[Shown]:
    """The batch as training mixes it, with the share of each label."""
    import torch

    classes = list(dict.fromkeys(all_labels(chosen)))
    targets: Any = torch.from_numpy(label_targets(chosen, classes))
    pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float()
    tries = (mix(pixels, targets, mixup=mixup, cutmix=cutmix, seed=100 * seed + number) for number in range(_TRIES))
    mixed, shares = min(tries, key=_surest)  # draws where there is something to see
    shown = mixed.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    for image, share in zip(shown, shares.tolist(), strict=True):
        parts = [f"{part:.0%} {label}" for label, part in zip(classes, share, strict=True) if part > 0.005]
        yield image, f"{name}: {', '.join(parts) or 'no label'}"


def _surest(mixed: tuple[Any, Any]) -> float:
    """The largest share of a label in images and targets (N, labels); there may be no label at all."""
    return max((share for row in mixed[1].tolist() for share in row), default=0.0)


def _folded(caption: str, width_px: int) -> list[str]:
    """As many lines as there is room for."""
    shown = inert(caption).encode("ascii", "replace").decode()
    return textwrap.wrap(shown, max(8, width_px // _CHARACTER_PX), max_lines=_LINES, placeholder="...")
