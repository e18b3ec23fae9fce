"""`edgeclf recommend`: the bundle to deploy, picked from measured rows, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import grid, say, show, styled, write_json
from edgeclf.verbs.shared.options import AsJson
from edgeclf_runtime.errors import GateError, UsageError


def recommend(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT…", help="What bench wrote, of one or many machines.")
    ],
    max_ms: Annotated[float | None, typer.Option(metavar="MS", help="Median latency of inference, at most.")] = None,
    min_top1: Annotated[float | None, typer.Option(metavar="SHARE", help="Top-1 of 0 to 1, at least.")] = None,
    max_mb: Annotated[float | None, typer.Option(metavar="MB", help="Size of the bundle, at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pick the fastest measured bundle that keeps all limits, on each machine.

    A limit counts as kept where the whole 95 % interval keeps it. Bundles that are not proven on the machine, or worse
    than their reference, are left out; faster ones whose images are too few to tell are listed with how many more
    would do. A bundle whose logits are the reference's needs no labels for that. Exit code 1 where nothing fits on some
    machine.

    \b
    Examples:
      edgeclf recommend benches/1.json --max-ms 10 --min-top1 0.9
      edgeclf recommend laptop.json board.json --max-mb 20 --json
    """
    from edgeclf_benchmarks.comparing.compare import entries_of, read_sources
    from edgeclf_benchmarks.comparing.recommend import Limits
    from edgeclf_benchmarks.comparing.recommend import recommend as choose

    if min_top1 is not None and not 0 <= min_top1 <= 1:
        raise UsageError(f"--min-top1 wants a share of 0 to 1, found {min_top1:g}; 93 % is 0.93")
    for option, value in (("--max-ms", max_ms), ("--max-mb", max_mb)):
        if value is not None and not value > 0:
            raise UsageError(f"{option} wants a number above 0, found {value:g}")
    choices = choose(entries_of(read_sources(reports)), Limits(max_ms, min_top1, max_mb))
    if as_json:
        write_json("recommend", {"choices": choices})
    else:
        table = grid()
        for choice in choices:
            table.add_row(styled(choice.machine, "dim"))
            table.add_row(
                styled(choice.pick or "nothing", "bold green" if choice.pick else "bold red"), styled(choice.reason)
            )
            for name, doubt in choice.unproven.items():
                table.add_row(styled(name, "yellow"), styled(doubt))
            for name, fault in choice.left_out.items():
                table.add_row(styled(name, "cyan"), styled(fault, "dim"))
        show(table)
    if empty := [choice.machine for choice in choices if choice.pick is None]:
        raise GateError(f"no measured bundle keeps all limits on {', '.join(empty)}; loosen one, or measure others")
    say("measured on the machines of the reports; measure again on the one that it is for", style="dim")
