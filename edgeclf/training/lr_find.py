"""The learning-rate range test (Smith, 2017, arXiv:1506.01186): the rate rises until the loss does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.data.split import SplitManifest
from edgeclf.training.augment import seed_of
from edgeclf.training.config import TrainConfig
from edgeclf.training.device import choose_device
from edgeclf.training.inputs import PictureInputs
from edgeclf.training.losses import classification_loss, one_hot, soften
from edgeclf.training.studio import Studio
from edgeclf.training.watcher import Watcher
from edgeclf_export.trained import load_for_training
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.writer import writing

LOWEST, HIGHEST = 1e-6, 1.0
_SMOOTHING, _DIVERGED = 0.9, 4.0


@dataclass(frozen=True, slots=True)
class RangeTest:
    """Rates, the smoothed loss at each, and the suggestion: where the loss falls fastest."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_lr(config: TrainConfig, data: SplitManifest, steps: int = 100, watcher: Watcher = Watcher()) -> RangeTest:
    """Trains the whole network for `steps` steps, the rate rising from 1e-6 to 1; ends early where the loss explodes.

    Raises DataError where too few steps gave a loss to suggest anything.
    """
    import torch

    architecture, module = load_for_training(
        config.model, config.weights, labels=data.classes, img_size=config.img_size, seed=config.seed
    )
    studio = Studio(config, data, architecture, module, choose_device(config.device))
    inputs = PictureInputs(studio)
    optimizer = torch.optim.AdamW(module.parameters(), lr=LOWEST)
    torch.manual_seed(seed_of(config.seed, "lr-find"))
    inputs.start()
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    watcher.start("range test", steps)
    for step, (images, labels) in zip(range(steps), _forever(inputs), strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))
        optimizer.param_groups[0]["lr"] = rate
        targets = soften(one_hot(labels, len(data.classes)), config.label_smoothing)
        with studio.autocast():
            loss = classification_loss(inputs.logits(images), targets, focal_gamma=None)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        average = _SMOOTHING * average + (1 - _SMOOTHING) * float(loss.detach())
        smoothed = average / (1 - _SMOOTHING ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > _DIVERGED * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
        watcher.advance()
    return RangeTest(tuple(rates), tuple(losses), suggest_rate(rates, losses))


def suggest_rate(rates: list[float], losses: list[float]) -> float:
    """The rate of the steepest fall of the loss over the logarithm of the rate, before the lowest loss."""
    import numpy as np

    if len(losses) < 10:
        raise DataError(f"only {len(losses)} steps gave a usable loss; try more images, or weights that are not random")
    lowest = int(np.argmin(losses))
    slopes = np.gradient(np.array(losses[: max(lowest + 1, 3)]), np.log(rates[: max(lowest + 1, 3)]))
    return float(rates[int(np.argmin(slopes))])


def draw_range_test(found: RangeTest, path: Path) -> None:
    """Writes the curve and the suggestion as a PNG, over what is there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses)
    axes.axvline(found.suggestion, color="tab:red", linestyle="--", label=f"suggestion {found.suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats, smoothed)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with writing(path, force=True) as draft:
        figure.savefig(draft, dpi=110, format="png")


def _forever(inputs: PictureInputs) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from inputs.batches(epoch)
        epoch += 1
