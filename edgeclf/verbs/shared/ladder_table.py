"""The ladder of an INT8 model as a table: what was tried, how accurate, how fast, what became of it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.console import grid, say, show, styled, verdict
from edgeclf.wording import count, size

if TYPE_CHECKING:
    from rich.text import Text

    from edgeclf.sheet import Sheet
    from edgeclf_runtime.bundle.quantization_report import Judged, Ladder, Step

_HEADINGS = ("", "step", "top-1", "change", "95 % bound", "mean KL", "int8", "size", "latency", "gate", "became")
_BY_AGREEMENT = {"top-1": "agreement"}  # with the reference, where too few labels are there, or none
_COLOURS = {"model": "bold green", "candidate": "green", "failed": "red"}
_NONE = "–"


def show_ladder(ladder: Ladder, title: str) -> None:
    """The table on stdout, with what was chosen and why; the layers to blame and test figures below it."""
    show("", styled(title, "bold"), ladder_table(ladder), *remarks(ladder))


def remarks(ladder: Ladder) -> list[Text]:
    """Lines below the table: why, why others failed, the figure on test images, the layers that int8 harmed most."""
    lines = [styled(f"{ladder.chosen}: {ladder.why}" if ladder.chosen else ladder.why)]
    for step in ladder.rungs:
        if step.problem is None and step.judged is not None and step.judged.verdict == "fail":
            lines.append(styled(f"{step.name} failed: {'; '.join(step.judged.reasons)}", "dim"))
    if ladder.final is not None:
        lines.append(styled(f"on test images: {in_words(ladder.final)} ({ladder.final.source})"))
    elif ladder.chosen and (judged := ladder.step(ladder.chosen).judged):
        lines.append(styled(f"not judged on test images: the figures are on {judged.source}", "dim"))
    if ladder.blame:
        worst = ", ".join(
            f"{sensitivity.node} ({sensitivity.operator}, KL {sensitivity.mean_kl:.1g})" for sensitivity in ladder.blame
        )
        lines.append(styled(f"harmed most by int8: {worst}", "dim"))
    return lines


def ladder_table(ladder: Ladder) -> Sheet:
    labelled = all(step.judged is None or step.judged.labelled for step in ladder.rungs)
    headings = _HEADINGS if labelled else tuple(_BY_AGREEMENT.get(heading, heading) for heading in _HEADINGS)
    table = grid(*headings, title=2)
    for step in ladder.rungs:
        table.add_row("", styled(step.name), *_judged(step.judged), *_measured(step), *_fate(step))
    return table


def say_doubts(ladder: Ladder, path: str) -> None:
    """On stderr: warnings about images, and an open verdict said loudly."""
    for warning in ladder.warnings:
        say(f"warning: {warning}", style="yellow")
    judged = ladder.decisive
    if judged is not None and judged.verdict == "inconclusive":
        more = f"; {judged.images_needed:,} images would settle it" if judged.images_needed else ""
        about = f"{'; '.join(judged.reasons)} ({judged.source}){more}"
        say(f"INCONCLUSIVE: {path}: {about}", style="bold yellow")


def in_words(judged: Judged) -> str:
    """ "top-1 0.887 (fp32 0.889), -0.20 points, not below -0.61 (95 %) on 2,000 images, …"."""
    name = "top-1" if judged.labelled else "agreement"
    return (
        f"{name} {judged.top1:.3f} (reference {judged.top1_reference:.3f}), {judged.change_points:+.2f} points, "
        f"not below {judged.bound_points:+.2f} (95 %) on {count(judged.images, 'image')}, "
        f"of which one is worth {100 / judged.images:.2g} points"
    )


def _judged(judged: Judged | None) -> tuple[str, ...]:
    if judged is None:
        return (_NONE,) * 4
    return (
        f"{judged.top1:.3f}",
        f"{judged.change_points:+.2f}",
        f"{judged.bound_points:+.2f}",
        f"{judged.mean_kl:.1e}",
    )


def _measured(step: Step) -> tuple[str, ...]:
    share = _NONE if step.shares is None else f"{step.shares.get('int8', 0.0):.0%}"
    speed = _NONE
    if step.median_ms is not None and step.ratio is not None:
        speed = f"{step.median_ms:.2f} ms ({1 / step.ratio:.2f}x)"
    return share, size(step.model_bytes) if step.model_bytes else _NONE, speed


def _fate(step: Step) -> tuple[Text, Text]:
    gate = (
        styled(step.problem, "red") if step.problem else verdict(step.judged.verdict) if step.judged else styled(_NONE)
    )
    return gate, styled(step.became, _COLOURS.get(step.became, "dim"))
