"""The ladder of an INT8 model as a table: what was tried, how accurate, how fast, with which outcome and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import grid, say, show, styled, verdict
from edgeclf.wording import size

if TYPE_CHECKING:
    from rich.text import Text

    from edgeclf.sheet import Sheet
    from edgeclf_runtime.bundle.quantization_report import GateEvaluation, Ladder, Step

_HEADINGS = ("change", "95 % bound", "mean KL", "int8", "size", "latency", "gate", "outcome")
_COLOURS = {"model": "bold green", "candidate": "green", "failed": "red"}
_NONE = "–"


def show_ladder(ladder: Ladder, title: str) -> None:
    """The table on stdout, with what was chosen and why; the layers responsible and test figures below it."""
    show("", styled(title, "bold"), ladder_table(ladder), *remarks(ladder))


def remarks(ladder: Ladder) -> list[Text]:
    """Lines below the table: why, why others failed, the figure on test images, the layers most sensitive to int8."""
    lines = [styled(f"{ladder.chosen}: {ladder.why}" if ladder.chosen else ladder.why)]
    for step in ladder.rungs:
        if step.problem is None and step.judged is not None and step.judged.verdict == "fail":
            lines.append(styled(f"{step.name} failed: {'; '.join(step.judged.reasons)}", "dim"))
    if (evaluated := ladder.evaluated) is not None:
        lines.append(styled(f"steps evaluated on {evaluated.worth} ({evaluated.source})", "dim"))
    if ladder.final is not None:
        lines.append(styled(f"on test images: {in_words(ladder.final)} ({ladder.final.source})"))
    elif ladder.chosen and evaluated is not None:
        lines.append(styled("not evaluated on test images: the figures are on the images that chose the step", "dim"))
    if ladder.blame:
        worst = ", ".join(
            f"{sensitivity.node} ({sensitivity.operator}, KL {sensitivity.mean_kl:.1g})" for sensitivity in ladder.blame
        )
        lines.append(styled(f"most sensitive to int8: {worst}", "dim"))
    return lines


def ladder_table(ladder: Ladder) -> Sheet:
    evaluated = ladder.evaluated
    table = grid("", "step", "top-1" if evaluated is None else _figure(evaluated), *_HEADINGS, title=2)
    for step in ladder.rungs:
        table.add_row("", styled(step.name), *_accuracy(step.judged), *_measured(step), *_outcome(step))
    return table


def warn_inconclusive(ladder: Ladder, path: str) -> None:
    """On stderr: warnings about images, and an inconclusive verdict."""
    for warning in ladder.warnings:
        say(f"warning: {warning}", style="yellow")
    figures = ladder.decisive
    if figures is not None and figures.verdict == "inconclusive":
        more = f"; {figures.images_needed:,} images would settle it" if figures.images_needed else ""
        about = f"{'; '.join(figures.reasons)} ({figures.source}){more}"
        say(f"INCONCLUSIVE: {path}: {about}", style="bold yellow")


def in_words(figures: GateEvaluation) -> str:
    """ "top-1 0.887 (fp32 0.889), -0.20 points, not below -0.61 (95 %) on 2,000 images, …"."""
    return (
        f"{_figure(figures)} {figures.value:.3f} (reference {figures.value_reference:.3f}), "
        f"{figures.change_points:+.2f} points, not below {figures.bound_points:+.2f} (95 %) on {figures.worth}"
    )


def _figure(figures: GateEvaluation) -> str:
    """The name of what was measured: of the labels, or with the reference where too few are there, or none."""
    if figures.labelled:
        return figures.metric
    return "agreement" if figures.metric == "top-1" else f"agreement ({figures.metric})"


def _accuracy(figures: GateEvaluation | None) -> tuple[str, ...]:
    if figures is None:
        return (_NONE,) * 4
    return (
        f"{figures.value:.3f}",
        f"{figures.change_points:+.2f}",
        f"{figures.bound_points:+.2f}",
        f"{figures.mean_kl:.1e}",
    )


def _measured(step: Step) -> tuple[str, ...]:
    share = _NONE if step.shares is None else f"{step.shares.get('int8', 0.0):.0%}"
    speed = _NONE
    if step.median_ms is not None and step.ratio is not None:
        speed = f"{step.median_ms:.2f} ms ({1 / step.ratio:.2f}x)"
    return share, size(step.model_bytes) if step.model_bytes else _NONE, speed


def _outcome(step: Step) -> tuple[Text, Text]:
    gate = (
        styled(step.problem, "red") if step.problem else verdict(step.judged.verdict) if step.judged else styled(_NONE)
    )
    return gate, styled(step.became, _COLOURS.get(step.became, "dim"))
