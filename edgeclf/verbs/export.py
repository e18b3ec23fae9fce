"""`edgeclf export`: a run, a backbone, a foreign ONNX file or an onnx bundle becomes proven bundles."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeclf.console import Bars
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.exporting import source_options as given
from edgeclf.verbs.shared.exporting.encoders import embed_words, export_encoders
from edgeclf.verbs.shared.exporting.options import (
    BundleName,
    BundlesFolder,
    CalibData,
    CalibImages,
    Fallback,
    Features,
    LearnInt8,
    MaxDrop,
    NearestImages,
    Opset,
    ProofData,
    ResumeLearning,
    Seed,
    check_int8,
    int8_options,
)
from edgeclf.verbs.shared.exporting.several_labels import LabelThresholds, SeveralLabels
from edgeclf.verbs.shared.options import AsJson, Backbone, Force, ImgSize, Precision, Strict, Targets, names_of, need
from edgeclf.verbs.shared.value_range import BitDepth, Window
from edgeclf_runtime.errors import UsageError


def export(
    source: given.Source = None,
    model: Backbone = None,
    weights: given.Weights = None,
    pretrained: given.Pretrained = None,
    encoder: given.Encoders = None,
    target: Targets = None,
    precision: Precision = "fp32",
    calib_data: CalibData = None,
    calib_images: CalibImages = None,
    max_drop: MaxDrop = None,
    fallback: Fallback = False,
    learn_int8: LearnInt8 = None,
    resume: ResumeLearning = False,
    features: Features = False,
    nearest_images: NearestImages = 0,
    labels: given.Labels = None,
    img_size: ImgSize = None,
    input_form: given.Form = "uint8-nhwc",
    mean: given.Mean = None,
    std: given.Std = None,
    scale: given.Scale = None,
    channels: given.Channels = None,
    output_name: given.OutputName = None,
    multi_label: SeveralLabels = False,
    thresholds: LabelThresholds = None,
    crop_pct: given.CropPct = None,
    crop_mode: given.Crop = None,
    interpolation: given.Resampling = None,
    bit_depth: BitDepth = None,
    window: Window = None,
    proof_data: ProofData = None,
    max_batch: given.MaxBatch = None,
    opt_batch: given.OptBatch = None,
    workspace: given.Workspace = None,
    tf32: given.Tf32 = None,
    layout: given.LayoutName = "bundle",
    opset: Opset = 18,
    seed: Seed = 0,
    output: BundlesFolder = Path("bundles"),
    name: BundleName = None,
    force: Force = False,
    config: ConfigFile = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Export a classifier as bundles, verified against the original.

    The finished bundle is loaded as a device would load it and compared with PyTorch (or with the ONNX file) on real
    photographs. If it differs, the exit code is 1, the bundle is kept aside as NAME.failed, and the message says where.
    Up to nine of the images, without their metadata, are stored in the bundle, so that a device can verify it, too.

    int8 searches a ladder of methods: calibration ranges with corrected biases, the most sensitive layers in float,
    and with --learn-int8 weights that learn to be rounded. Each step is evaluated on validation images that never
    calibrate, and the first one whose top-1 accuracy (mAP, where an image may have several labels) is shown not to
    drop by more than --max-drop is kept; the final
    figure comes from test images, once, counted. auto measures the latency of what passes and of fp32 and keeps the
    fastest, the others as candidates that `edgeclf build` times on the device. An ONNX file that is quantized already
    is taken as it is (--precision int8, target onnx).

    Your own weights may have been trained on images prepared in another way. What the checkpoint does not state (by
    timm's config in it or beside it) is taken from the published model, unless --mean, --std, --crop-pct, --crop-mode,
    --interpolation and --img-size are given. The output shows the preprocessing: compare it with yours.

    A TensorRT engine fits one GPU. Without a GPU, tensorrt gives a portable bundle, of which `edgeclf build` makes an
    engine on the device.

    \b
    Examples:
      edgeclf export runs/flowers -t onnx -t openvino
      edgeclf export runs/flowers --features --nearest-images 2000
      edgeclf export --target tensorrt --precision fp16
      edgeclf export runs/flowers -t openvino --precision auto --max-drop 0.5
      edgeclf export -m resnet50 -t openvino --precision int8 --calib-data photos/
      edgeclf export bundles/flowers-onnx-fp32 -t tensorrt
      edgeclf export -m mobilenetv3_large_100 -t onnx -t openvino --layout triton
      edgeclf export runs/flowers -t litert --layout android
      edgeclf export -m resnet50 --weights best.safetensors --labels names.txt --precision fp16
      edgeclf export mine.onnx --labels names.txt --img-size 224 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5
      edgeclf export tags.onnx --labels names.txt --img-size 224 --mean 0,0,0 --std 1,1,1 --multi-label --thresholds 0.4
      edgeclf export -m ViT-B-32 --pretrained laion2b_s34b_b79k --encoder image --encoder text
    """
    from edgeclf.verbs.shared.exporting.layouts import check_layout, lay_out, lay_out_alone
    from edgeclf.verbs.shared.exporting.results import collect, finish, show_bundles
    from edgeclf.verbs.shared.exporting.sources import NEEDED, Preprocessing, Source
    from edgeclf_export.exporter import export_each
    from edgeclf_export.options import ExportOptions, plan_outputs, refuse_without_module

    preprocessing = Preprocessing(mean, std, crop_pct, crop_mode, interpolation, channels, scale, output_name)
    described = Source(
        source, model, weights, labels, img_size, seed, preprocessing, bit_depth, window, multi_label, thresholds
    )
    encoders = bool(encoder) or pretrained is not None
    described.check(encoders=encoders)
    if features and described.kind != "run":
        raise UsageError(
            "--features takes class means of the images that a run was trained on; export that run (edgeclf runs lists "
            "them)"
        )
    if described.kind == "bundle" and target is None and precision == "fp32":
        needless = {"workspace": workspace, "tf32": tf32, "opt-batch": opt_batch}
        if misplaced := [option for option, value in needless.items() if value not in (None, False)]:
            advice = "leave it out, or give --target for another bundle"
            raise UsageError(f"--{misplaced[0]} changes nothing of {source}, which is a bundle already; {advice}")
        lay_out_alone(str(source), layout, output, max_batch, force=force, as_json=as_json)
        return
    options = ExportOptions(
        targets=names_of(target) or ("onnx",),
        precision=precision,
        output=output,
        name=name,
        form=input_form,
        opset=opset,
        proof_data=proof_data,
        force=force,
        int8=int8_options(
            precision,
            calib_data,
            calib_images,
            max_drop,
            fallback=fallback,
            seed=seed,
            learn_minutes=learn_int8,
            resume=resume,
        ),
        features=features,
        nearest_images=nearest_images,
        engine=given.engine_settings(opt_batch, max_batch, workspace, tf32, (*names_of(target), layout)),
    )
    check_layout(layout, options)
    if encoders:
        halves = names_of(encoder)
        made_of, made = export_encoders(str(model), pretrained, halves, options, img_size, seed)
        models = lay_out(layout, made, options)
        show_bundles("export", made_of, made, models, layout=layout, form=input_form, as_json=as_json)
        finish(made, models, layout=layout, strict=strict, uses=(embed_words(halves), "pack {}"))
        return
    need("export", *NEEDED[described.kind])
    if described.kind == "file":
        refuse_without_module(options.targets)  # before its preprocessing is asked for
    check_int8(options, brings_images=described.check_content(options))
    if described.kind in ("backbone", "file"):
        plan_outputs(source or str(model), options)  # before anything is loaded
    with tempfile.TemporaryDirectory() as folder, Bars() as progress:
        progress.step("loading the model")
        exportable = described.load(Path(folder))
        made, failure = collect(export_each(exportable, options, progress))
    models = lay_out(layout, made, options)
    show_bundles("export", exportable, made, models, layout=layout, failure=failure, form=input_form, as_json=as_json)
    finish(made, models, layout=layout, strict=strict)
