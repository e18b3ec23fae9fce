"""The options of `edgeclf train`, each with its help; apart from the work, so that `--help` loads nothing for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

import typer

from edgeclf.training.choices import (
    Amp,
    BatchNorm,
    ClassWeights,
    CurveSplit,
    ImageCache,
    Logger,
    Loss,
    Metric,
    Optimizer,
    RecipeName,
    Sampler,
    Schedule,
    Statistics,
    Strategy,
    TeacherViews,
)
from edgeclf.verbs.shared import completion
from edgeclf.verbs.shared.lists import completed_from, each_of

# heading in the help of `train` -> its parameters, in the order in which a reader needs them
TRAIN_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Model": ("model", "weights", "img_size", "normalize", "batch_norm", "dropout"),
    "Data": ("bit_depth", "window", "strict", "class_weights", "sampler"),
    "Recipe": (
        *("strategy", "epochs", "head_epochs", "batch_size", "lr", "head_lr", "layer_decay"),
        *("loss", "focal_gamma", "label_smoothing", "optimizer", "momentum", "weight_decay"),
        *("schedule", "warmup_epochs", "clip_grad", "grad_accum_steps", "ema", "patience", "select_metric", "seed"),
    ),
    "Augmentation": (
        *("augment", "hflip", "vflip", "rotate", "shear", "color_jitter", "rand_augment", "mixup", "cutmix"),
    ),
    "Distillation": ("teacher", "unlabelled", "teacher_temperature", "teacher_share", "teacher_views", "compare"),
    "Learning curve": ("fraction", "evaluate_on"),
    "Hardware and speed": ("device", "amp", "workers", "image_cache", "channels_last"),
    "Saving and resuming": ("name", "logger", "resume", "finish"),
}

APPROACHES = (*get_args(Strategy), "hog-svm")  # the last one is the classical baseline of a learning curve

Data = Annotated[
    Path | None,
    typer.Argument(
        metavar="DATA",
        help="Labelled images: a folder with one subfolder per class, a CSV file, or a split from "
        "`edgeclf data split`.",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        metavar="WHERE",
        help="Initial weights: hub (published ones), random, a .safetensors or torch file, a package that carries "
        "weights, or clip:WHERE for the image encoder of a CLIP model.",
    ),
]
Approaches = Annotated[
    str,
    typer.Option(
        metavar=f"<{'|'.join(get_args(Strategy))}>",
        help="Fine-tuning strategy. linear-probe: the head only, on cached features. two-phase: the head, then all "
        "layers at a lower learning rate. discriminative: learning rates that rise from lr/100 in the first "
        "layers to lr in the head. full: all layers at lr. With --fraction, a comma-separated list, which may contain "
        "hog-svm, the classical baseline.",
        autocompletion=completed_from(APPROACHES),
        callback=each_of(APPROACHES),
    ),
]
Epochs = Annotated[int, typer.Option(min=1, metavar="N", help="Number of training epochs.")]
HeadEpochs = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of epochs of the first phase of two-phase.", show_default="10"),
]
StepImages = Annotated[
    int,
    typer.Option(
        "--batch-size", "-b", min=1, metavar="N", help="Images per training batch, over all processes together."
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        help="Peak learning rate of all layers; of the head for linear-probe and discriminative.",
        show_default="by strategy",
    ),
]
HeadRate = Annotated[
    float,
    typer.Option(
        metavar="RATE",
        help="Peak learning rate of a head on frozen features. Without --lr, also of discriminative's head; two-phase "
        "and full then train all layers at 0.3 of it, from random weights at 0.1.",
    ),
]
Augment = Annotated[
    RecipeName, typer.Option(help="Augmentation recipe; `edgeclf data preview` shows what each does to images.")
]
Hflip = Annotated[bool | None, typer.Option(help="Random horizontal flips.", show_default="as the recipe")]
Rotate = Annotated[float | None, typer.Option(metavar="DEG", help="Largest random rotation, in degrees.")]
Shear = Annotated[float | None, typer.Option(metavar="DEG", help="Largest random shear, in degrees.")]
ColorJitter = Annotated[
    float | None,
    typer.Option(
        "--color-jitter",
        metavar="F",
        help="Color jitter: brightness, contrast and saturation vary by a factor of up to 1 ± F.",
    ),
]
RandAugment = Annotated[int | None, typer.Option(min=0, max=30, metavar="M", help="RandAugment magnitude.")]
Mixup = Annotated[
    float | None, typer.Option(metavar="A", help="MixUp alpha; 0 turns it off.", show_default="as the recipe")
]
Cutmix = Annotated[
    float | None, typer.Option(metavar="A", help="CutMix alpha; 0 turns it off.", show_default="as the recipe")
]
LossName = Annotated[
    Loss,
    typer.Option(
        help="Loss function. cross-entropy: of the classes, or of each label where images have several; focal: for one "
        "label an image; asymmetric: for several."
    ),
]
FocalGamma = Annotated[float, typer.Option(metavar="G", help="Focal-loss gamma.")]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(metavar="F", help="Label-smoothing factor.", show_default="0.1; 0 where images have several labels"),
]
Weighting = Annotated[ClassWeights, typer.Option(help="Class weights in the loss; balanced: by inverse frequency.")]
SamplerName = Annotated[Sampler, typer.Option(help="Sampling of training images; weighted: every class equally often.")]
OptimizerName = Annotated[Optimizer, typer.Option(help="Optimizer.")]
Momentum = Annotated[float, typer.Option(metavar="F", help="SGD momentum.")]
WeightDecay = Annotated[
    float, typer.Option(metavar="F", help="Weight decay; not applied to normalization layers and biases.")
]
ScheduleName = Annotated[Schedule, typer.Option(help="Learning-rate schedule; cosine starts with a warm-up.")]
WarmupEpochs = Annotated[
    float, typer.Option(metavar="F", help="Warm-up epochs of the cosine schedule; may be a fraction.")
]
LayerDecay = Annotated[
    float | None, typer.Option(metavar="F", help="Learning-rate factor from layer to layer, for discriminative.")
]
Dropout = Annotated[float, typer.Option("--dropout", metavar="P", help="Dropout probability before the head.")]
ClipGrad = Annotated[float, typer.Option("--clip-grad", metavar="NORM", help="Gradient-norm clipping; 0 turns it off.")]
Ema = Annotated[
    float, typer.Option(metavar="DECAY", help="Decay of the exponential moving average of the weights; 0 turns it off.")
]
GradAccumSteps = Annotated[
    int, typer.Option("--grad-accum-steps", min=1, metavar="N", help="Gradient-accumulation steps.")
]
Patience = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Epochs without improvement before training stops early; 0: never."),
]
SelectMetric = Annotated[
    Metric,
    typer.Option(
        "--select-metric",
        help="Validation metric that selects the best epoch; ties: lower loss. auto: macro-F1, or mAP where images "
        "have several labels.",
    ),
]
Normalize = Annotated[
    Statistics, typer.Option(help="Source of the mean and standard deviation that images are normalized with.")
]
BatchNormMode = Annotated[
    BatchNorm,
    typer.Option(
        help="BatchNorm statistics. freeze: keep the pretrained ones; learn: update them; auto: freeze on small data."
    ),
]
MixedPrecision = Annotated[
    Amp, typer.Option(help="Automatic mixed precision; auto is bf16 on a GPU that has it, else off.")
]
CacheImages = Annotated[
    ImageCache,
    typer.Option(
        help="In-memory cache of decoded images. auto: if all of them fit; on: as many as fit into half of the free "
        "memory."
    ),
]
ChannelsLast = Annotated[
    bool, typer.Option(help="channels_last memory format for convolutions; affects speed, not the result.")
]
Fraction = Annotated[
    str | None,
    typer.Option(
        metavar="F,F,…",
        help="Learning curve: train on each of these fractions of the training images, such as 0.1,0.25,0.5,1.",
    ),
]
EvaluateOn = Annotated[
    CurveSplit,
    typer.Option(
        "--evaluate-on",
        help="Split that the models of --fraction or --compare are evaluated on; each use of test is counted.",
    ),
]
TeacherPath = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        metavar="RUN|BUNDLE",
        help="Knowledge distillation: a run, bundle or zero-shot bundle to learn from. It has the same classes, in any "
        "order, and sees images in its own size and normalization.",
        autocompletion=completion.runs_and_bundles,
    ),
]
TeacherTemperature = Annotated[
    float | None,
    typer.Option(
        metavar="T",
        help="Distillation temperature: divides the logits of teacher and student.",
        show_default="1 for a head on frozen features, else 3",
    ),
]
TeacherShare = Annotated[
    float, typer.Option(metavar="F", help="Distillation weight in the loss; the labels have the rest.")
]
TeacherSees = Annotated[
    TeacherViews,
    typer.Option(
        "--teacher-views",
        help="What the teacher sees. stored: each image once, unaugmented; consistent: every augmented view, slower; "
        "auto: consistent with MixUp, CutMix or --augment strong, where stored logits are wrong.",
    ),
]
UnlabelledImages = Annotated[
    Path | None,
    typer.Option(
        "--unlabelled",
        metavar="DIR",
        help="Folder of images without labels, which the teacher alone teaches; without DATA, some are held out to "
        "validate by agreement with the teacher.",
    ),
]
CompareGain = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Train the same student without the teacher, too (same seed and steps), and print the paired gain with "
        "its 95 % interval.",
    ),
]
LoggerName = Annotated[Logger, typer.Option(help="Additional logging; tensorboard writes event files into the run.")]
RunName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Name of the run's folder under runs/.", show_default="MODEL-STRATEGY, MODEL-curve"
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="Interrupted run to continue exactly where it stopped.", autocompletion=completion.runs
    ),
]
Finish = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Interrupted run to end now, keeping its best epoch so far.",
        autocompletion=completion.runs,
    ),
]
