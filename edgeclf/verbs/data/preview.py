"""`edgeclf data preview`: training images under each augmentation recipe."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edgeclf.console import say, suggest
from edgeclf.verbs.data.source import MultiLabel, Source, several_labels_of
from edgeclf.verbs.shared.options import Force, StrictImages, names_of, need, shell_word
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of
from edgeclf.wording import count

if TYPE_CHECKING:
    from edgeclf.training.choices import RecipeName


class Recipe(str, Enum):
    """An augmentation recipe. An Enum, for typer takes no list of a Literal."""

    none = "none"
    light = "light"
    standard = "standard"
    strong = "strong"


def preview(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="PNG file for the preview.")] = Path(
        "preview.png"
    ),
    augment: Annotated[
        list[Recipe] | None,
        typer.Option(
            metavar="RECIPE",
            help=f"Augmentation recipe to show ({', '.join(each.value for each in Recipe)}); repeatable.",
            show_default="all",
        ),
    ] = None,
    img_size: Annotated[
        int, typer.Option("--img-size", "--imgsz", min=8, metavar="PX", help="Side length of the images, in pixels.")
    ] = 128,
    multi_label: MultiLabel = False,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed for the samples, and for the split if there is none.")
    ] = 0,
    strict: StrictImages = False,
    force: Force = False,
) -> None:
    """Draw training images under each augmentation recipe, beside what the model sees on the device.

    An image that cannot be read is left out, and the next one is shown in its place.

    \b
    Example:
      edgeclf data preview photos/ --augment standard --augment strong -o preview.png
    """
    from edgeclf.data.sources import some
    from edgeclf.data.split import open_data
    from edgeclf.training.inputs.augment import RECIPES
    from edgeclf.training.inputs.preview import draw_preview
    from edgeclf_runtime.images.pixels import Pixels

    need("train", "torch", "torchvision")
    recipes = cast("tuple[RecipeName, ...]", names_of(augment)) or tuple(RECIPES)
    resized = round(img_size / 0.875)
    value_range = value_range_of(bit_depth, window)
    pixels = Pixels("shorter", (resized, resized), (img_size, img_size), "bicubic", value_range=value_range)
    data = open_data(source, seed, several_labels=several_labels_of(multi_label))
    left_out = draw_preview(data, pixels, output, recipes=recipes, seed=seed, strict=strict, force=force)
    if left_out:
        named = some([f"{each.path} ({each.error})" for each in left_out], "; ")
        say(f"warning: {count(len(left_out), 'image')} can't be used and left out: {named}", style="yellow")
    say(f"wrote {output}: {', '.join(recipes)}", style="dim")
    if multi_label:
        suggest(f"edgeclf data split {shell_word(str(source))} --multi-label -o split.json")
        return
    suggest(f"edgeclf train {shell_word(str(source))} --model NAME --augment {recipes[-1]}{options_for(value_range)}")
