"""`edgeclf data fetch`: a public data set as an image folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import Bars, grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, Force, shell_word


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Data set to fetch; without it, they are listed.")
    ] = None,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="Folder for the images.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a public data set as an image folder. Three come with installed packages, the others need the network.

    \b
    Examples:
      edgeclf data fetch
      edgeclf data fetch photo-patches patches
      edgeclf data fetch flowers102 flowers
    """
    from edgeclf.data.fetching.fetch import TABLE, fetch_dataset, public_sets

    if name is None:
        _show_sets(as_json=as_json)
        return
    known = {each.name: each for each in public_sets()}
    place = folder if folder is not None else Path(name)
    if name in known and not known[name].embedded:
        say(f"{name}: {known[name].about}; downloading", style="dim")
    images = fetch_dataset(name, place, force=force, progress=Bars())
    source = place / TABLE if (place / TABLE).exists() else place
    if as_json:
        write_json("data fetch", {"name": name, "path": str(place), "source": str(source), "images": images})
    say(f"wrote {place}  {images:,} images", style="dim")
    suggest(
        f"edgeclf data check {shell_word(str(source))}",
        f"edgeclf data split {shell_word(str(source))} -o split.json",
    )


def _show_sets(*, as_json: bool) -> None:
    from edgeclf.data.fetching.fetch import public_sets

    sets = public_sets()
    if as_json:
        rows = [{"name": each.name, "about": each.about, "embedded": each.embedded} for each in sets]
        write_json("data fetch", {"sets": rows})
        return
    table = grid()
    for each in sets:
        table.add_row(each.name, each.about, styled("no network needed" if each.embedded else "download", "dim"))
    show(table)
    suggest("edgeclf data fetch photo-patches patches")
