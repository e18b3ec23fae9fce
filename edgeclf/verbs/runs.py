"""`edgeclf runs`: the runs and bundles of a folder, as a table, a page or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import grid, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import AsJson, Force, shell_word
from edgeclf_runtime.errors import DataError, UsageError


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to search.")] = Path(),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File for the list as a page, .html.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """List runs and bundles: date, model, data, accuracy, state. The newest come first.

    The accuracy is that of the latest `edgeclf eval`, if its report lies in the folder, too. Otherwise it is a run's
    accuracy on the validation images that selected its best epoch, or what `edgeclf baseline`, or the export of an int8
    model, measured on test images.

    \b
    Examples:
      edgeclf runs
      edgeclf runs bundles/ -o bundles.html
    """
    from edgeclf.listing import AGREEMENT, HEADINGS, list_folder, listing_page
    from edgeclf_runtime.bundle.atomic_write import writing

    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--output wants a name that ends in .html, found {output}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name one that holds runs or bundles")
    found = list_folder(folder)
    if output is not None:
        with writing(output, force=force) as draft:
            draft.write_text(listing_page(folder, found), encoding="utf-8")
    if as_json:
        write_json("runs", {"folder": str(folder), "found": found, "written": None if output is None else str(output)})
    elif found:
        table = grid(*HEADINGS)
        for each in found:
            path, *cells = each.cells
            table.add_row(styled(path, "cyan"), *map(styled, cells))
        show(table)
    if output is not None:
        say(f"wrote {output}", style="dim")
    if not found:
        say(f"no runs or bundles in {folder}", style="dim")
        suggest("edgeclf train DATA --model NAME")
    elif runs_there := [each for each in found if each.kind == "run" and each.state == "finished"]:
        data = " DATA" if runs_there[0].measured_on == AGREEMENT else ""
        suggest(f"edgeclf eval {shell_word(runs_there[0].path)}{data}")
