"""`edgeclf zeroshot`: words become a classifier, by a CLIP model and without a labelled image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeclf.console import Bars, say
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.exporting.encoders import NEEDED, clip_name
from edgeclf.verbs.shared.exporting.options import (
    BundlesFolder,
    CalibData,
    CalibImages,
    Fallback,
    LearnInt8,
    MaxDrop,
    Opset,
    ProofData,
    ResumeLearning,
    Seed,
    check_int8,
    int8_options,
)
from edgeclf.verbs.shared.exporting.several_labels import LabelThresholds, SeveralLabels, check_several_labels
from edgeclf.verbs.shared.options import AsJson, Force, ImgSize, Precision, Strict, Targets, names_of, need
from edgeclf.wording import count
from edgeclf_runtime.errors import UsageError


def zeroshot(
    labels: Annotated[
        list[str] | None,
        typer.Argument(metavar="LABELS", help='Class names, such as "daisy,rose,tulip", or a file with one per line.'),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="NAME|DIR", help="CLIP model: a name of open_clip, or a folder that holds one."
        ),
    ] = "ViT-B-32",
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Weights: a tag that open_clip publishes, a .safetensors or torch file, TAG=FILE, or random.",
            show_default="what DIR holds",
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Prompt templates: imagenet (80 of them), simple (7), a file with one per line, or a text with {} for "
            "the class name.",
            show_default="a photo of a {}.",
        ),
    ] = None,
    multi_label: SeveralLabels = False,
    thresholds: LabelThresholds = None,
    target: Targets = None,
    precision: Precision = "fp32",
    calib_data: CalibData = None,
    calib_images: CalibImages = None,
    max_drop: MaxDrop = None,
    fallback: Fallback = False,
    learn_int8: LearnInt8 = None,
    resume: ResumeLearning = False,
    img_size: ImgSize = None,
    proof_data: ProofData = None,
    opset: Opset = 18,
    seed: Seed = 0,
    output: BundlesFolder = Path("bundles"),
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the bundles: NAME-TARGET-PRECISION.",
            show_default="the model's, with -zeroshot",
        ),
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Make a zero-shot classifier from class names with CLIP.

    No labelled images are needed. The text embeddings of the class names, averaged over the prompt templates, become
    the last layer of the image encoder, so no text encoder runs on the device. The bundle is
    like any other: predict, eval, verify and pack take it. It is verified against open_clip's own outputs on real
    photographs. Name in the template what the images show: "a photo of a {}, a type of flower." works better than the
    class name alone.

    \b
    Examples:
      edgeclf zeroshot "daisy,rose,tulip" --pretrained laion2b_s34b_b79k -t onnx -t openvino
      edgeclf zeroshot classes.txt --pretrained weights.safetensors --templates "a photograph of a {} flower"
      edgeclf zeroshot classes.txt --pretrained laion2b_s34b_b79k -t openvino --precision int8 --calib-data photos/
      edgeclf zeroshot cat dog -m MobileCLIP-S2 --pretrained datacompdr --precision fp16
    """
    from edgeclf.verbs.shared.exporting.results import collect, finish, show_bundles
    from edgeclf_export.exporter import export_each
    from edgeclf_export.options import ExportOptions, plan_outputs
    from edgeclf_export.sources.clip.models import load_clip
    from edgeclf_export.sources.clip.prompts import read_templates, read_words
    from edgeclf_export.sources.clip.zeroshot import zeroshot_classifier
    from edgeclf_export.sources.several_labels import read_thresholds, with_several_labels

    check_several_labels("model", multi_label=multi_label, thresholds=thresholds)
    words = read_words(labels or [])
    if thresholds is not None:
        read_thresholds(thresholds, words)  # before anything is loaded
    if len(words) < 2:
        raise UsageError(f"one label, {words[0]!r}, leaves nothing to choose from; give two or more")
    options = ExportOptions(
        targets=names_of(target) or ("onnx",),
        precision=precision,
        output=output,
        name=name or f"{clip_name(model)}-zeroshot",
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
    )
    plan_outputs(model, options)  # before anything is loaded
    need("clip", *NEEDED)
    check_int8(options, brings_images=False)
    sentences = read_templates(templates)
    with Bars() as progress:
        progress.step("loading the model")
        clip = load_clip(model, pretrained, img_size=img_size, seed=seed)
        exportable = zeroshot_classifier(clip, words, sentences, progress)
        if multi_label:
            exportable = with_several_labels(exportable, thresholds)
    for note in exportable.notes:
        say(note, style="yellow")
    with Bars() as progress:
        made, failure = collect(export_each(exportable, options, progress))
    show_bundles("zeroshot", exportable, made, failure=failure, as_json=as_json)
    one = len(sentences.sentences) == 1
    templates_used = repr(sentences.sentences[0]) if one else f"{len(sentences.sentences)} templates"
    say(f"{count(len(words), 'label')} in {templates_used}; scores: {exportable.scores}", style="dim")
    finish(made, strict=strict, uses=("predict {} IMAGE", "eval {} DATA"))
