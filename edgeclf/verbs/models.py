"""`edgeclf models`: the backbones that edgeclf knows by heart, their cost, and which suit an edge device."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeclf.console import grid, mark, say, show, styled, suggest, write_json
from edgeclf.verbs.options import AsJson


def models(
    edge: Annotated[bool, typer.Option("--edge", help="List only those that suit an edge device.")] = False,
    as_json: AsJson = False,
) -> None:
    """List backbones with their input size, parameters and multiply-adds, lightest first.

    Any other classifier of timm or torchvision exports just as well: these are the ones whose cost was measured.

    \b
    Example:
      edgeclf models --edge
    """
    from edgeclf_export.survey import known_backbones

    listed = sorted((b for b in known_backbones() if b.suits_edge or not edge), key=lambda b: b.gmacs)
    if as_json:
        rows = [{"suits_edge": b.suits_edge, **_fields(b)} for b in listed]
        write_json("models", {"models": rows})
        return
    table = grid()
    headings = ("backbone", "library", "input px", "parameters", "GMACs", "edge", "")
    table.add_row(*(styled(heading, "dim") for heading in headings))
    for b in listed:
        library, _, name = b.name.partition("/")
        size = "x".join(map(str, b.input_px))
        fits = styled(mark(True), "green") if b.suits_edge else styled("")
        table.add_row(name, library, size, f"{b.parameters / 1e6:.1f} M", f"{b.gmacs:.2f}", fits, styled(b.note, "dim"))
    show(table)
    say("edge: at most 2 GMACs and 15 M parameters; GMACs are 10^9 multiply-adds for one picture", style="dim")
    suggest("edgeclf export --model mobilenetv3_large_100 --target onnx")


def _fields(backbone: object) -> dict[str, object]:
    from edgeclf_runtime.records import to_json

    fields: dict[str, object] = to_json(backbone)
    return fields
