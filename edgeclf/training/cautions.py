"""What is said of a config and its data before a training starts: risks, and options that change nothing."""

from __future__ import annotations

from collections.abc import Iterator

from edgeclf.data.bit_depth import deep_images, highest_stored
from edgeclf.data.split import copies_across_splits
from edgeclf.training.adaptation.leakage import seen_in_adaptation
from edgeclf.training.config import TrainConfig
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import Progress

_SCRATCH_NEEDS, _SAMPLED = 100_000, 16
_GENTLE_LR = 3e-4  # no worse than 1e-4 on three data sets, and better on one: benchmarks/results/recipe.json


def warn_of_risks(config: TrainConfig, data: DataSplit, progress: Progress) -> None:
    images = len(data.of("train"))
    if config.from_scratch and images < _SCRATCH_NEEDS:
        progress.warn(
            f"training from scratch on {images} images: below {_SCRATCH_NEEDS:,} pretrained weights are mostly better"
        )
    whole_lr = config.peak_lr / 10 if config.strategy == "discriminative" else config.peak_lr
    if not config.from_scratch and config.strategy != "linear-probe" and whole_lr > _GENTLE_LR:
        progress.warn(
            f"a rate of {whole_lr:g} for a pretrained backbone: above {_GENTLE_LR:g} it may forget its pretraining"
        )
    if config.class_weights != "none" and config.sampler == "weighted":
        progress.warn("--class-weights beside --sampler weighted counts the rare classes twice: choose one")
    for option, why in _without_effect(config):
        progress.warn(f"{option} has no effect {why}")
    stores = config.teacher is not None and config.strategy != "linear-probe" and not config.consistent_views
    if stores and (unlike := config.unlike_whole_images):
        progress.warn(
            f"--teacher-views stored beside {' and '.join(unlike)}: the teacher's logits are of whole, unmixed images, "
            "wrong for such views; leave it out, or give consistent"
        )
    if config.value_range is None:
        trained = data.of("train")
        sample = trained[:: max(1, len(trained) // _SAMPLED)]
        deep = deep_images(highest_stored(image.path) for image in sample)
        if deep.value_range is not None:
            progress.warn(f"of {len(sample)} training images {deep}")
    for sentence in (*config.switches.warnings(), *seen_in_adaptation(config.weights, data)):
        progress.warn(sentence)
    if copies := copies_across_splits(data):
        progress.warn(
            f"{copies} images lie in more than one split, so figures are optimistic; `edgeclf data check` lists them"
        )


def _without_effect(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Options that were given and change nothing, each with the reason."""
    usual = TrainConfig(model="")
    why = "with --strategy linear-probe, which computes the features of each image once, without augmentation"
    if config.strategy == "linear-probe":
        if config.mixup or config.cutmix:
            yield "--mixup" if config.mixup else "--cutmix", why
        if config.switches.any:
            yield "an augmentation such as --rotate", why
        if config.augment != usual.augment:
            yield f"--augment {config.augment}", why
        if config.batch_norm != usual.batch_norm:
            yield f"--batch-norm {config.batch_norm}", "with --strategy linear-probe, which trains the head alone"
    if config.lr is not None and config.strategy != "two-phase" and config.head_lr != usual.head_lr:
        yield "--head-lr", f"beside --lr with --strategy {config.strategy}"
    if config.teacher is None:
        for name in ("teacher_temperature", "teacher_share", "teacher_views"):
            if getattr(config, name) != getattr(usual, name):
                yield f"--{name.replace('_', '-')}", "without --teacher"
    elif config.strategy == "linear-probe" and config.teacher_views == "consistent":
        yield "--teacher-views consistent", why
    if config.loss != "focal" and config.focal_gamma != usual.focal_gamma:
        yield "--focal-gamma", "without --loss focal"
    if config.optimizer != "sgd" and config.momentum != usual.momentum:
        yield "--momentum", "without --optimizer sgd"
    if config.schedule == "plateau" and config.warmup_epochs != usual.warmup_epochs:
        yield "--warmup-epochs", "with --schedule plateau"
