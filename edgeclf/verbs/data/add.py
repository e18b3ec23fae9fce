"""`edgeclf data add`: new labelled images into the train and val splits of a data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, say, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, Force, shell_word
from edgeclf.wording import count
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.data.add import Addition
    from edgeclf_runtime.images.data_split import DataSplit
    from edgeclf_runtime.images.labelled import LabelledImage

_NAMED = 10


def add(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Images to add: a folder that `--collect` filled and whose labels.csv has labels, a folder with one "
            "subfolder per class, or a CSV file.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Data set to add to: a split from `edgeclf data split`, or a folder or CSV file with a test split.",
        ),
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Only write labels.csv and labels.html into DIR, to label the images with.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="New split or CSV file.", show_default="NAME-added, beside it"
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Add images to the train and val splits of a data set.

    The test split stays as it is: no image is added to it, and images that look like one of it (a perceptual hash,
    confirmed by small copies) or are of its groups are refused. An image that looks like one of train or val goes to
    that split, others go to val in the share that it has. Images are copied beside those of their class; a split or CSV
    file gets a new one beside it. In a sheet, several labels are written cat|dog, and none "no label". Exit code 1:
    every image was refused.

    \b
    Examples:
      edgeclf data add to-label/ --sheet
      edgeclf data add to-label/ split.json
    """
    from edgeclf.data.add import plan_addition, write_addition
    from edgeclf.data.labelling.new_images import read_new
    from edgeclf.data.labelling.sheet import PAGE, write_sheet
    from edgeclf.data.split import read_source

    if sheet:
        kind = None if data is None else read_source(data, several_labels="known").multi_label
        listed, column = write_sheet(folder, multi_label=kind, force=force)
        if as_json:
            write_json("data add", {"sheet": str(folder / "labels.csv"), "images": listed})
        say(f"wrote {folder}: labels.csv, {PAGE} ({count(listed, 'image')})", style="dim")
        suggest(f"edgeclf data add {shell_word(str(folder))} split.json   (fill in the column {column} first)")
        return
    if data is None:
        raise UsageError("name the data set to add to, such as split.json; or --sheet to label the images first")
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder or CSV file")
    target = read_source(data, several_labels="known")
    addition = plan_addition(read_new(folder, multi_label=target.multi_label), target, Bars())
    place = write_addition(addition, data, output, force=force) or data
    if as_json:
        added = [{"path": each.name, **_labels(each, target), "split": each.split} for each in addition.added]
        write_json("data add", {"path": str(place), "added": added, "left_out": addition.left_out})
    if data.is_dir() and (lost := sum(image.group is not None for image in addition.added)):
        say(
            f"warning: a folder holds no groups, so those of {count(lost, 'image')} are lost; add to a split file or a "
            "CSV to keep them",
            style="yellow",
        )
    _end(addition, place)


def _labels(image: LabelledImage, data: DataSplit) -> dict[str, object]:
    return {"labels": list(image.labels or ())} if data.multi_label else {"label": image.label}


def _end(addition: Addition, place: Path) -> None:
    for each in addition.left_out[:_NAMED]:
        say(f"not added: {each.name} is {each.why}" + (f" ({each.like})" if each.like else ""), style="yellow")
    if (rest := len(addition.left_out) - _NAMED) > 0:
        say(f"and {rest} more; --json lists all of them", style="yellow")
    splits = Counter(image.split for image in addition.added)
    say(f"added {splits['train']} to train and {splits['val']} to val; {len(addition.left_out)} left out")
    if place.is_file():
        say(f"wrote {place}", style="dim")
    suggest(f"edgeclf data check {shell_word(str(place))}", f"edgeclf train {shell_word(str(place))} --model NAME")
