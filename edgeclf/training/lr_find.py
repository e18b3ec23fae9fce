"""The learning-rate range test (Smith, 2017, arXiv:1506.01186): the rate rises until the loss does, several times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import Phase, TrainConfig
from edgeclf.training.loop.context import TrainingContext
from edgeclf.training.loop.device import choose_device
from edgeclf.training.loop.label_losses import binary_loss
from edgeclf.training.loop.losses import classification_loss, one_hot, soften
from edgeclf.training.loop.optimizer import make_optimizer
from edgeclf.training.loop.phases import ImageInputs
from edgeclf.training.run.checkpoint import copy_state
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.seeds import seed_of
from edgeclf.training.task import smoothing
from edgeclf_export.sources.trained import load_for_training
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

LOWEST, HIGHEST = 1e-6, 1.0
PASSES, SMALL_SET_PASSES = 3, 5
_DIVERGED = 3.0  # times the first losses
_FEWEST_STEPS = 10
_SMOOTHED_DECADES = 0.25  # standard deviation of the Gaussian, in powers of ten of the rate
_BEYOND_NOISE = 4.0  # standard errors


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The result of a range test.

    Attributes
    ----------
    rates, losses
        Rates up to where the first pass diverged, and the loss at each in nats: the mean over passes, smoothed.
    noise
        Standard error of a smoothed loss, from what single steps differ by.
    passes
        How often the rate rose, each time from the same weights over other batches.
    suggestion
        The rate of the steepest fall of the loss; None: there is none, for the reason in `problem`.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    noise: float
    passes: int
    suggestion: float | None
    problem: str | None = None


def find_lr(
    config: TrainConfig, data: DataSplit, steps: int = 100, passes: int | None = None, progress: Progress = SILENT
) -> RangeTest:
    """Trains the whole network while the rate rises from 1e-6 to 1 in `steps` steps, `passes` times from the start.

    `passes`: None: 3, and 5 where a pass shows images more than once, since few images make noisy losses. A pass
    ends early where its loss explodes.
    """
    architecture, module = load_for_training(
        config.model,
        config.weights,
        labels=data.classes,
        img_size=config.img_size,
        seed=config.seed,
        value_range=config.value_range,
    )
    data, _ = leave_out_unusable(data, config.value_range, progress=progress)
    context = TrainingContext(config, data, architecture, module, choose_device(config.device))
    if passes is None:
        passes = PASSES if len(context.train) >= steps * config.batch_size else SMALL_SET_PASSES
    inputs = ImageInputs(context)
    inputs.decode_once(progress)
    start, rates = copy_state(module), np.geomspace(LOWEST, HIGHEST, steps)
    batches = _forever(inputs)
    progress.step("range test", steps * passes)
    curves = []
    for number in range(passes):
        module.load_state_dict(start)
        curves.append(_one_pass(context, inputs, batches, rates, number, progress))
    return read_curves(rates, curves)


def _one_pass(
    context: TrainingContext,
    inputs: ImageInputs,
    batches: Iterator[Any],
    rates: NDArray[np.float64],
    number: int,
    progress: Progress,
) -> list[float]:
    """The loss of each step, up to the one that explodes."""
    import torch

    config = context.config
    optimizer = make_optimizer(config, context.network, Phase("range test", False, 1, LOWEST))
    torch.manual_seed(seed_of(config.seed, "lr-find", number))
    inputs.start()
    losses: list[float] = []
    for rate, batch in zip(rates, batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        with context.autocast():
            loss = _loss(context, inputs.logits(batch.inputs), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.advance()
        found = float(loss.detach())
        if not math.isfinite(found) or (found > _DIVERGED * np.mean([*losses[:_FEWEST_STEPS], found]) > 0 and losses):
            break
        losses.append(found)
    return losses


def _loss(context: TrainingContext, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of a batch; where images have several labels, that of each label by itself."""
    several = context.train.multi_label
    spread = smoothing(context.config, multi_label=several)
    if several:
        return binary_loss(logits, labels, smoothing=spread, whole=len(labels))
    return classification_loss(logits, soften(one_hot(labels, context.classes), spread), focal_gamma=None)


def read_curves(rates: NDArray[np.float64], curves: Sequence[Sequence[float]]) -> RangeTest:
    """The range test that passes of (at most) these rates make.

    The mean over passes is smoothed over the logarithm of the rate, both ways, so that the start is no noisier than the
    rest and no rate is charged with the losses of the rates before it. A rate is suggested where the loss falls by more
    than 4 standard errors of such a smoothed loss before it rises.
    """
    steps = min(len(curve) for curve in curves)
    passes, rates = len(curves), rates[:steps]
    if steps < _FEWEST_STEPS:
        found = tuple(map(float, np.mean([curve[:steps] for curve in curves], axis=0))) if steps else ()
        exploded = f"the loss is not a number, or explodes, after {steps} steps"
        return RangeTest(tuple(map(float, rates)), found, 0.0, passes, None, exploded)
    mean = np.mean([curve[:steps] for curve in curves], axis=0)
    decades = np.log10(rates)
    kernel = np.exp(-0.5 * ((decades[:, None] - decades) / _SMOOTHED_DECADES) ** 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    smooth = kernel @ mean
    early = slice(0, int(np.argmin(smooth)) + 1)
    spread = float(np.sqrt(np.mean((mean - smooth)[: steps // 2] ** 2)))
    noise = spread * float(np.sqrt((kernel**2).sum(axis=1).max()))
    fall = float(smooth[early].max() - smooth[early][-1])
    suggestion: float | None = None
    problem: str | None = None
    if fall <= _BEYOND_NOISE * math.sqrt(2) * noise:
        problem = f"the loss falls by {fall:.3f} nats at most, no more than its noise ({noise:.3f})"
    else:
        suggestion = float(
            rates[int(np.argmin(np.gradient(smooth[: max(early.stop, 3)], decades[: max(early.stop, 3)])))]
        )
    return RangeTest(tuple(map(float, rates)), tuple(map(float, smooth)), noise, passes, suggestion, problem)


def draw_range_test(found: RangeTest, path: Path) -> None:
    """Writes the curve, its noise and the suggestion as a PNG, over what is there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    losses = np.array(found.losses)
    axes.plot(found.rates, losses, label=f"mean of {found.passes} passes, smoothed")
    axes.fill_between(
        found.rates, losses - 2 * found.noise, losses + 2 * found.noise, alpha=0.2, label="noise (± 2 SE)"
    )
    if found.suggestion is not None:
        axes.axvline(found.suggestion, color="tab:red", linestyle="--", label=f"suggestion {found.suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with writing(path, force=True) as draft:
        figure.savefig(draft, dpi=110, format="png")


def _forever(inputs: ImageInputs) -> Iterator[Any]:
    epoch = 0
    while True:
        yield from inputs.batches(epoch)
        epoch += 1
