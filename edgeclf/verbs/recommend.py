"""`edgeclf recommend`: the bundle to deploy, picked from measured rows, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, say, show, styled, write_json
from edgeclf.verbs.compare import Reports
from edgeclf.verbs.shared.options import AsJson
from edgeclf_runtime.errors import GateError

if TYPE_CHECKING:
    from edgeclf_benchmarks.comparing.recommend import Choice


def recommend(
    reports: Reports,
    max_ms: Annotated[
        float | None, typer.Option(metavar="MS", help="Largest median inference latency, in milliseconds.")
    ] = None,
    min_top1: Annotated[float | None, typer.Option(metavar="SHARE", help="Lowest top-1 accuracy, from 0 to 1.")] = None,
    max_mb: Annotated[float | None, typer.Option(metavar="MB", help="Largest bundle size, in megabytes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pick the fastest measured bundle within all limits, for each machine.

    A limit counts as met if the whole 95 % interval meets it. Bundles that failed verification on the machine, or are
    worse than their reference, are excluded. Faster ones that were measured on too few images are listed, with how many
    more would decide. A bundle whose logits equal the reference's needs no labels for that. Exit code 1: no bundle fits
    on some machine.

    \b
    Examples:
      edgeclf recommend benches/1.json --max-ms 10 --min-top1 0.9
      edgeclf recommend laptop.json board.json --max-mb 20 --json
    """
    from edgeclf_benchmarks.comparing.recommend import Limits
    from edgeclf_benchmarks.comparing.recommend import recommend as choose

    choices = choose(reports, Limits(max_ms, min_top1, max_mb))
    if as_json:
        write_json("recommend", {"choices": choices})
    else:
        _show(choices)
    if empty := [choice.machine for choice in choices if choice.pick is None]:
        raise GateError(f"no measured bundle is within all limits on {', '.join(empty)}; loosen one, or measure others")
    say("measured on the machines of the reports; measure again on the one that it is for", style="dim")


def _show(choices: tuple[Choice, ...]) -> None:
    table = grid()
    for choice in choices:
        table.add_row(styled(choice.machine, "dim"))
        name = styled(choice.pick or "nothing", "bold green" if choice.pick else "bold red")
        table.add_row(name, styled(choice.reason))
        for name_of, doubt in choice.unproven.items():
            table.add_row(styled(name_of, "yellow"), styled(doubt))
        for name_of, fault in choice.left_out.items():
            table.add_row(styled(name_of, "cyan"), styled(fault, "dim"))
    show(table)
