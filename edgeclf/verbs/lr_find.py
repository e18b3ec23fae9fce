"""`edgeclf lr-find`: which learning rate suits a backbone on these images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import Bars, say, show, styled, suggest, write_json
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.options import AsJson, ImgSize, RequiredBackbone, TrainDevice, TrainingSeed, need, shell_word
from edgeclf.verbs.shared.training_options import Weights
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of
from edgeclf.verbs.train import NEEDED
from edgeclf.wording import count
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import GateError


def lr_find(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled images: a folder with one subfolder per class, a CSV file, or a split from `edgeclf data "
            "split`.",
        ),
    ],
    model: RequiredBackbone,
    weights: Weights = "hub",
    img_size: ImgSize = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=2, metavar="N", help="Images per training batch.")
    ] = 32,
    steps: Annotated[
        int, typer.Option(min=20, metavar="N", help="Training steps per pass, at rates that rise from 1e-6 to 1.")
    ] = 100,
    passes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of passes to average.", show_default="3; for few images 5"),
    ] = None,
    device: TrainDevice = "auto",
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: TrainingSeed = 0,
    config: ConfigFile = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File for the plot.")] = Path(
        "lr-find.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate by an LR range test.

    The rate rises step by step, several times from the same weights; the loss is averaged and smoothed, and the rate at
    which it falls fastest is suggested. If it falls no further than its noise, no rate is suggested and the exit
    code is 1. The trained weights are not kept. All layers are trained, as in `train --strategy full`.

    \b
    Example:
      edgeclf lr-find photos/ -m mobilenetv3_large_100
    """
    from edgeclf.data.split import open_data
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.lr_find import draw_range_test, find_lr

    need("train", *NEEDED)
    resolved = TrainConfig(
        model=model,
        weights=weights,
        img_size=img_size,
        batch_size=batch_size,
        device=device,
        seed=seed,
        strategy="full",
        value_range=value_range_of(bit_depth, window),
    )
    with Bars() as progress:
        images = open_data(data, seed, several_labels="known", warn=progress.warn)
        found = find_lr(resolved, images, steps, passes, progress)
    draw_range_test(found, output)
    if as_json:
        write_json("lr-find", to_json(found))
    elif found.suggestion is not None:
        show(styled(f"suggested rate {found.suggestion:.1e}", "bold"))
    reached = f" up to {found.rates[-1]:.1e}" if found.rates else ""
    say(f"wrote {output}: {found.passes} x {count(len(found.rates), 'step')}{reached}", style="dim")
    same = "" if weights == "hub" else f" --weights {shell_word(weights)}"
    same += "" if img_size is None else f" --img-size {img_size}"
    if batch_size != TrainConfig(model=model).batch_size:
        same += f" --batch-size {batch_size}"  # a rate is that of its batch size
    same += options_for(resolved.value_range)
    rate = "" if found.suggestion is None else f" --lr {found.suggestion:.1e}"
    suggest(f"edgeclf train {shell_word(str(data))} -m {model}{same} --strategy full{rate}")
    if found.suggestion is None:
        raise GateError(
            f"no rate can be suggested: {found.problem}; give more --steps, --passes or images, or use train's default "
            f"rate of {resolved.peak_lr:g}"
        )
