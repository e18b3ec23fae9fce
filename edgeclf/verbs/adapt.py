"""`edgeclf adapt`: unlabelled images and a backbone become weights that a training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import Bars, say, show, styled, suggest, write_json
from edgeclf.training.choices import AdaptAmp
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.options import (
    AsJson,
    Backbone,
    ImgSize,
    TrainDevice,
    TrainingSeed,
    Vflip,
    Workers,
    need,
    need_one_process,
    shell_word,
)
from edgeclf.verbs.shared.value_range import BitDepth, Window, options_for, value_range_of
from edgeclf_runtime.errors import BackendError, DataError, UsageError

if TYPE_CHECKING:
    from edgeclf.training.adaptation.folder import Adaptation

NEEDED = ("torch", "torchvision", "timm", "safetensors")


def adapt(
    unlabelled: Annotated[
        Path | None,
        typer.Argument(
            metavar="UNLABELLED",
            help="Images: a folder with any subfolders, or a split, of which the training images are used.",
        ),
    ] = None,
    model: Backbone = None,
    weights: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Initial weights: hub (published ones), random, a file or a package, as for `edgeclf train`.",
        ),
    ] = "hub",
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Number of epochs.")] = 20,
    img_size: ImgSize = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "-b",
            min=8,
            metavar="N",
            help="Images per batch; the variance and covariance terms of VICReg are taken over it.",
        ),
    ] = 128,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Peak learning rate of AdamW.", show_default="1e-3 for random weights, else 1e-4"
        ),
    ] = None,
    embedding_dim: Annotated[
        int, typer.Option("--embedding-dim", min=2, metavar="N", help="Dimension of the projected embeddings.")
    ] = 512,
    hflip: Annotated[
        bool, typer.Option(help="Random horizontal flips; turn them off where left and right differ in meaning.")
    ] = True,
    vflip: Vflip = False,
    amp: Annotated[
        AdaptAmp, typer.Option(help="Automatic mixed precision; auto is bf16 on a GPU that has it, else off.")
    ] = "auto",
    device: TrainDevice = "auto",
    workers: Workers = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: TrainingSeed = 0,
    config: ConfigFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the adapted weights.", show_default="adapted/MODEL"
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Interrupted adaptation to continue exactly where it stopped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adapt a backbone to unlabelled images, before it is trained.

    Self-supervised learning (VICReg), for images unlike those of the pretrained weights: X-rays, microscopy, satellite
    images. Two augmented views of an image are pulled to one embedding, and those of different images kept apart;
    labels are not used. More images and larger batches help. The weights have no head. They record which images they
    were adapted to, and train warns if test images were among them. Ctrl-C is safe: the last finished epoch is on disk,
    and --resume continues from there.

    \b
    Examples:
      edgeclf adapt scans/ -m resnet18
      edgeclf train labelled/ -m resnet18 --weights adapted/resnet18
      edgeclf adapt split.json -m vit_tiny_patch16_224 --weights random --epochs 100 -o adapted/vit
    """
    from edgeclf.training.adaptation.adapt import adapt as adapt_backbone
    from edgeclf.training.adaptation.adapt import resume as resume_adaptation
    from edgeclf.training.adaptation.folder import Adaptation, AdaptConfig
    from edgeclf.training.adaptation.unlabelled import read_unlabelled

    need("train", *NEEDED)
    need_one_process("adapt")
    if (resume is None) == (unlabelled is None):
        raise UsageError("give UNLABELLED to start an adaptation, or --resume FOLDER to continue one")
    if resume is None and model is None:
        raise UsageError("name a backbone with --model; `edgeclf models` lists some")
    folder = resume or output or Path("adapted") / str(model).rpartition("/")[2]
    with Bars() as progress:
        try:
            if unlabelled is None:
                made = resume_adaptation(folder, progress)
            else:
                Adaptation.check_free(folder)  # before thousands of images are read
                settings = AdaptConfig(
                    model=str(model),
                    weights=weights,
                    img_size=img_size,
                    epochs=epochs,
                    batch_size=batch_size,
                    lr=lr,
                    embedding=embedding_dim,
                    hflip=hflip,
                    vflip=vflip,
                    amp=amp,
                    device=device,
                    workers=workers,
                    seed=seed,
                    value_range=value_range_of(bit_depth, window),
                )
                made = adapt_backbone(
                    settings, read_unlabelled(unlabelled, settings.value_range, progress=progress), folder, progress
                )
        except (KeyboardInterrupt, BackendError, DataError):
            _say_how_to_go_on(folder)
            raise
    _show(made, as_json=as_json)


def _say_how_to_go_on(folder: Path) -> None:
    """After an interruption: the last finished epoch is on disk."""
    from edgeclf.training.adaptation.folder import Adaptation

    if Adaptation.is_at(folder) and not Adaptation(folder).finished:
        say(f"go on with: edgeclf adapt --resume {shell_word(str(folder))}")


def _show(made: Adaptation, *, as_json: bool) -> None:
    from edgeclf_runtime.bundle.dataclass_json import to_json

    outcome, broken = made.outcome(), made.images().broken
    if as_json:
        fields = {name: value for name, value in to_json(outcome).items() if name != "image_hashes"}
        write_json("adapt", {"folder": str(made.path), "adapted": fields, "broken": broken, "epochs": made.history()})
    else:
        show(styled(f"{made.path}: {outcome.backbone} {outcome}, in {outcome.seconds:.1f} s", "bold"))
    say(f"wrote {made.path}/: model.safetensors without a head, adapted.json, split, history", style="dim")
    name, size = shell_word(made.config().model), made.config().img_size
    sized = ("" if size is None else f" --img-size {size}") + options_for(made.config().value_range)
    suggest(f"edgeclf train DATA -m {name}{sized} --weights {shell_word(str(made.path))}")
