"""`edgeclf drift`: whether what a device sees and predicts has changed since validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, inert, say, show, styled, write_json
from edgeclf.verbs.shared.options import AsJson, BundlePath
from edgeclf.wording import count
from edgeclf_runtime.errors import GateError

if TYPE_CHECKING:
    from edgeclf_runtime.monitoring.drift import Change, Drift

_STYLES = {"fine": "green", "look": "yellow", "drifted": "bold red"}


def drift(
    bundle: BundlePath,
    summary: Annotated[
        Path,
        typer.Argument(
            metavar="SUMMARY", help="What `edgeclf predict --summary` wrote, or /summary of `edgeclf serve`, in a file."
        ),
    ],
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--since",
            metavar="SUMMARY",
            help="Earlier summary of the same bundle to compare with, such as that of its first week.",
            show_default="validation, as the bundle keeps it",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what a device sees and predicts with validation.

    Compares how often each class (or each of several labels, and none) is predicted, how many predictions are unknown,
    confidences, energies, and how images look: brightness, contrast, colour, detail. For each, the population stability
    index (PSI) says how large the change is, and a permutation test how likely chance alone makes one as large (p,
    corrected for all figures). Verdicts: fine; look (PSI beyond chance from 0.1, p below 0.01); drifted (from 0.25, p
    below 0.001). A single class or label counts if its share changes by a factor of 1.5, or 2. Exit code 1: something
    has drifted. Neighbouring frames of a stream are alike, so that p is too small for them: give `predict --every`.

    \b
    Examples:
      edgeclf predict bundles/cats-onnx inbox/ --watch --summary week.json
      edgeclf drift bundles/cats-onnx week.json
      edgeclf drift bundles/cats-onnx week9.json --since week1.json
    """
    from edgeclf_runtime.bundle.bundle import Bundle
    from edgeclf_runtime.monitoring.drift import FEW, find_drift
    from edgeclf_runtime.monitoring.summary import read_summary

    opened, found = Bundle.open(bundle), read_summary(summary)
    result = find_drift(opened, found, None if earlier is None else read_summary(earlier))
    if as_json:
        about = {"path": str(opened.path), "digest": opened.digest}
        span = {"begun_utc": found.begun_utc, "ended_utc": found.ended_utc, "errors": found.errors}
        write_json("drift", {"bundle": about, "summary": str(summary), **span, "drift": result})
    else:
        _show(result)
    compared = "the earlier summary" if earlier is not None else "validation"
    say(f"{count(result.images, 'image')} compared with {result.reference_images:,} of {compared}", style="dim")
    if found.errors:
        say(f"{count(found.errors, 'image')} could not be read and are not compared", style="yellow")
    if min(result.images, result.reference_images) < FEW:
        say(f"warning: below {FEW} images only very large changes can be told from chance", style="yellow")
    if result.verdict == "drifted":
        names = ", ".join(inert(each.name) for each in result.changes if each.verdict == "drifted")
        raise GateError(f"drifted: {names}; look at recent images, and collect some (`edgeclf predict --collect`)")


def _show(result: Drift) -> None:
    table = grid("", "before", "now", "PSI", "by chance", "p", "verdict")
    for each in result.changes:
        p = "< 0.001" if each.p_value < 0.001 else f"{each.p_value:.3f}"
        figures = (f"{each.psi:.3f}", f"{each.psi_by_chance:.3f}", p)
        verdict = styled(each.verdict, _STYLES[each.verdict])
        table.add_row(inert(each.name), _figure(each, each.before), _figure(each, each.now), *figures, verdict)
    show(table)


def _figure(change: Change, value: float | None) -> str:
    if value is None:
        return ""
    are_shares = change.name.startswith(("class ", "label ", "no label", "unknown"))
    return f"{value:.1%}" if are_shares else f"{value:.4g}"
