"""The training curves of a run as one plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf.training.run.figures import figures_of


def draw_curves(history: list[dict[str, Any]], path: Path, *, title: str = "", best_epoch: int | None = None) -> None:
    """Losses on the left, validation figures on the right; lines at the epoch that was kept, and where phases start."""
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, figures = figure.subplots(1, 2)
    losses.plot(epochs, [line["train_loss"] for line in history], marker="o", label="training (smoothed, augmented)")
    losses.plot(epochs, [line["val_loss"] for line in history], marker="o", label="validation")
    losses.set(xlabel="epoch", ylabel="loss (nats)")
    for name in figures_of(history[0]) if history else ():
        figures.plot(epochs, [figures_of(line)[name] for line in history], marker="o", label=name)
    figures.set(xlabel="epoch", ylabel="validation", ylim=(0, 1.02))
    changes = [i + 0.5 for i in range(1, len(history)) if history[i]["phase"] != history[i - 1]["phase"]]
    for axes in (losses, figures):
        for number, change in enumerate(changes):
            label = None if number else "a new phase starts"
            axes.axvline(change, color="grey", linestyle=":", label=label)
        if best_epoch is not None:
            axes.axvline(best_epoch, color="green", alpha=0.25, linewidth=6, label=f"best epoch, kept: {best_epoch}")
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    losses.set_title("Loss: how far from the labels", fontsize="medium")
    figures.set_title("On validation images", fontsize="medium")
    if title:
        figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=110, format="png")
