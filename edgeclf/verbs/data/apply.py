"""`edgeclf data apply`: the labels that a person corrected, in a copy of the data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, inert, say, show, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, Force, shell_word
from edgeclf.wording import count

if TYPE_CHECKING:
    from edgeclf.data.labelling.corrections import Corrections
    from edgeclf_runtime.images.data_split import DataSplit

_SHOWN = 20


def apply(
    table: Annotated[
        Path, typer.Argument(metavar="REVIEW.csv", help="The edited table that `edgeclf data review` wrote.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="The data that was reviewed, where it has moved.", show_default="as reviewed"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File for the corrected copy.", show_default="NAME-corrected"
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a copy of a data set with corrected labels.

    Takes the column "label" of the table (or "labels": cat|dog); a - leaves the image out. Images, splits and groups
    stay as they are. A CSV becomes a CSV with all its columns, a split file (that of a run, too) a split file, and a
    folder a CSV inside it. The original is not changed.

    \b
    Examples:
      edgeclf data apply review/review.csv
      edgeclf data apply review/review.csv -o photos/checked.csv
    """
    from edgeclf.data.labelling.corrections import (
        apply_corrections,
        default_output,
        disagreeing_copies,
        read_corrections,
        read_reviewed,
        source_of,
        write_corrected,
    )
    from edgeclf.data.sources import some

    source = source_of(table) if data is None else _table_of(data)
    found = read_reviewed(source)
    corrections = read_corrections(table, found)
    corrected = apply_corrections(found, corrections)
    place = output or _place_of_run(source) or default_output(source)
    write_corrected(source, corrected, place, force=force)
    if as_json:
        fields = {"source": str(source), "path": str(place), "rows": corrections.rows}
        relabelled = {name: list(new) if found.multi_label else new[0] for name, new in corrections.relabelled.items()}
        changes = {"relabelled": relabelled, "left_out": corrections.left_out}
        write_json("data apply", {**fields, **changes})
    else:
        _show(corrections, found)
    same = (
        f"; the other {count(corrections.rows - len(corrections.relabelled) - len(corrections.left_out), 'row')} as is"
    )
    say(f"{len(corrections.relabelled)} relabelled, {len(corrections.left_out)} left out{same}")
    if copies := disagreeing_copies(corrected):
        say(f"warning: copies of one image now have two labels: {some(map(repr, copies))}", style="yellow")
    say(f"wrote {place}", style="dim")
    suggest(f"edgeclf data check {shell_word(str(place))}", f"edgeclf train {shell_word(str(place))} --model NAME")


def _table_of(data: Path) -> Path:
    """The split file of a run, or the data as it was named."""
    from edgeclf.training.run.run import SPLIT, Run

    return data / SPLIT if Run.is_at(data) else data


def _place_of_run(source: Path) -> Path | None:
    """A run's folder stays as its training left it."""
    from edgeclf.training.run.run import Run

    return Path(f"{Run(source.parent).name}-corrected.json") if Run.is_at(source.parent) else None


def _show(corrections: Corrections, data: DataSplit) -> None:
    if not corrections.relabelled:
        return
    images = {image.name: image for image in data.images}
    table = grid("image", "was", "is")
    for name, labels in list(corrections.relabelled.items())[:_SHOWN]:
        table.add_row(
            inert(name), inert(images[name].label_text), inert(replace(images[name], labels=labels).label_text)
        )
    show(table)
    if (rest := len(corrections.relabelled) - _SHOWN) > 0:
        say(f"and {rest} more", style="dim")
