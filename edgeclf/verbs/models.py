"""`edgeclf models`: the backbones whose cost was measured, their accuracy, and which suit an edge device."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeclf.console import grid, mark, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.options import AsJson


def models(
    edge: Annotated[
        bool,
        typer.Option("--edge", help="Only backbones that suit an edge device: at most 2 GMACs and 15 M parameters."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List backbones with their cost and accuracy, lightest first.

    They are listed with input size, parameters, multiply-adds and published accuracy. Any other classifier of timm or
    torchvision can be trained and exported, too: these are the ones whose cost was measured. Top-1 is the published
    accuracy of the weights on ImageNet's validation images; it was not measured here.

    \b
    Example:
      edgeclf models --edge
    """
    from edgeclf_export.sources.model_zoo import known_backbones
    from edgeclf_export.sources.published_accuracy import published_accuracies

    published = published_accuracies()
    listed = sorted((b for b in known_backbones() if b.suits_edge or not edge), key=lambda b: b.gmacs)
    if as_json:
        rows = [{"suits_edge": b.suits_edge, **_fields(b), "published": published.get(b.name)} for b in listed]
        write_json("models", {"models": rows})
        return
    table = grid("backbone", "library", "input px", "parameters", "GMACs", "top-1", "edge", "")
    for b in listed:
        library, _, name = b.name.partition("/")
        size = "x".join(map(str, b.input_px))
        fits = styled(mark(True), "green") if b.suits_edge else styled("")
        top1 = f"{published[b.name].top1_percent:.1f} %" if b.name in published else ""
        cost = f"{b.parameters / 1e6:.1f} M", f"{b.gmacs:.2f}"
        table.add_row(name, library, size, *cost, top1, fits, styled(b.note, "dim"))
    show(table)
    say("edge: at most 2 GMACs and 15 M parameters; GMACs are 10^9 multiply-adds for one image", style="dim")
    say(
        "top-1: ImageNet, as published for the weights (timm's results-imagenet.csv, torchvision's metadata; --json "
        "says which)",
        style="dim",
    )
    suggest("edgeclf export --model mobilenetv3_large_100 --target onnx")


def _fields(backbone: object) -> dict[str, object]:
    from edgeclf_runtime.bundle.dataclass_json import to_json

    fields: dict[str, object] = to_json(backbone)
    return fields
