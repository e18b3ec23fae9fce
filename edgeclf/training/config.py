"""The config of a training: every choice with its default, checked, and stored with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeclf.training.choices import (
    Amp,
    BatchNorm,
    ClassWeights,
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
    TrainingDevice,
    choices_of,
)
from edgeclf.training.inputs.augment import RECIPES, Switches
from edgeclf_runtime.errors import UsageError

_ENOUGH_FOR_BATCH_NORM = 10_000
_FIRST_EPOCHS = 10
_PRETRAINED_SHARE, _SCRATCH_SHARE = 0.3, 0.1  # of the head's rate, for all layers: benchmarks/results/recipe.json
_HEAD_TEMPERATURE, _NETWORK_TEMPERATURE = 1.0, 3.0  # docs/distillation.md has the figures


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training.

    Attributes
    ----------
    model, weights, img_size
        The backbone, as `edgeclf export` takes them.
    strategy
        "linear-probe": only the head, on features computed once. "two-phase": that first, then everything at a
        smaller rate. "discriminative": early layers at lr / 100, middle ones at lr / 10, the head at lr, or
        `layer_decay` per layer. "full": everything at lr.
    epochs
        Passes over the training images; of a linear probe: passes of its head over the features.
    head_epochs
        Passes of the head over the features in the first phase of two-phase; None: 10.
    lr, head_lr
        Peak learning rates; None: `peak_lr`.
    loss
        "cross-entropy": of the classes, or of each label by itself where images may have several; "focal" is for one
        label an image, "asymmetric" for several.
    label_smoothing
        None: 0.1, and 0 where images may have several labels: spread over rare ones it would hide them.
    momentum, focal_gamma, warmup_epochs
        Of SGD; of the focal loss; epochs in which the cosine schedule rises to its peak.
    drop
        Dropout in front of the head.
    select
        The validation figure that the best epoch is chosen by; "auto": macro-F1, or mAP where images may have several
        labels.
    patience
        Epochs without a better `select` figure after which training stops; 0: never.
    batch_norm
        "freeze": BatchNorm keeps the statistics it was pretrained with; "learn": it follows the batches; "auto": freeze
        pretrained weights below 10,000 training images, where the statistics of few batches unsettle a trained head.
    accumulate
        Batches whose gradients are summed before a step.
    image_cache
        Whether training images stay decoded in memory, as they are before their augmentation: "auto" all of them
        where they fit into a quarter of the free memory, "on" as many as fit into half of it.
    ema
        Decay of an exponential moving average of the weights, which is then evaluated and kept; 0: none.
    teacher
        A run or a bundle with the same classes, whose logits are learnt from (Hinton et al., 2015, arXiv:1503.02531).
    teacher_temperature
        What both networks' logits are divided by; None: 1 for a head on frozen features, else 3.
    teacher_share
        Weight of the teacher's part of the loss; the labels have the rest.
    teacher_views
        "stored": the teacher's logits of each image as it is, computed once; "consistent": of every augmented and mixed
        view, each time; "auto": consistent where images are mixed or cropped strongly, so that stored logits are wrong.
    unlabelled
        A folder of images that are trained on by the teacher's word alone.
    value_range
        Stored values of images of more than 8 bits that become black and white; None: all bits of the file.
    """

    model: str
    weights: str = "hub"
    img_size: int | None = None
    strategy: Strategy = "two-phase"
    epochs: int = 10
    head_epochs: int | None = None
    lr: float | None = None
    head_lr: float = 1e-3
    layer_decay: float | None = None
    batch_size: int = 32
    accumulate: int = 1
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.5
    loss: Loss = "cross-entropy"
    label_smoothing: float | None = None
    focal_gamma: float = 2.0
    class_weights: ClassWeights = "none"
    sampler: Sampler = "shuffle"
    augment: RecipeName = "standard"
    switches: Switches = Switches()
    mixup: float | None = None
    cutmix: float | None = None
    drop: float = 0.3
    clip: float = 1.0
    ema: float = 0.0
    patience: int = 0
    select: Metric = "auto"
    amp: Amp = "auto"
    channels_last: bool = True
    normalize: Statistics = "backbone"
    batch_norm: BatchNorm = "auto"
    device: TrainingDevice = "auto"
    workers: int | None = None
    image_cache: ImageCache = "auto"
    seed: int = 0
    value_range: tuple[float, float] | None = None
    logger: Logger = "none"
    teacher: str | None = None
    teacher_temperature: float | None = None
    teacher_share: float = 0.9
    teacher_views: TeacherViews = "auto"
    unlabelled: str | None = None

    def __post_init__(self) -> None:
        for name, choices in choices_of(TrainConfig).items():
            if (found := getattr(self, name)) not in choices:
                raise UsageError(f"no {_in_words(name)} {found!r}; choose one of {', '.join(choices)}")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError(
                f"a value range goes from low to high, found {self.value_range[0]:g} to {self.value_range[1]:g}"
            )
        if self.img_size is not None and self.img_size < 8:
            raise UsageError(f"an image size is at least 8 px, found {self.img_size}")
        if min(self.epochs, self.first_epochs, self.batch_size, self.accumulate) < 1:
            raise UsageError("epochs, head epochs, batch size and gradient-accumulation steps must be at least 1")
        if self.head_epochs is not None and self.strategy != "two-phase":
            raise UsageError(f"head epochs are for the strategy two-phase; with {self.strategy} give epochs")
        for name, highest in (("label_smoothing", 1.0), ("drop", 1.0), ("ema", 1.0)):
            if (found := getattr(self, name)) is not None and not 0 <= found < highest:
                raise UsageError(f"{_in_words(name)} must lie in 0..1, found {found}")
        for name in ("lr", "head_lr"):
            if (rate := getattr(self, name)) is not None and not 0 < rate < math.inf:
                raise UsageError(f"{name.replace('_', ' ')} must lie above 0, found {rate}")
        for name in ("weight_decay", "momentum", "warmup_epochs", "focal_gamma", "mixup", "cutmix", "clip", "patience"):
            if (found := getattr(self, name)) is not None and not 0 <= found < math.inf:
                raise UsageError(f"{_in_words(name)} must not lie below 0, found {found}")
        if self.layer_decay is not None and (self.strategy != "discriminative" or not 0 < self.layer_decay <= 1):
            raise UsageError("layer decay is a factor in 0..1 for the strategy discriminative")
        if self.strategy == "linear-probe" and self.ema:
            raise UsageError("a linear probe trains too briefly for --ema; leave it out")
        self._check_teacher()

    def _check_teacher(self) -> None:
        if not 0 < self.teacher_share <= 1:
            raise UsageError(f"teacher share must lie above 0 and not above 1, found {self.teacher_share:g}")
        if self.teacher_temperature is not None and not 0 < self.teacher_temperature < math.inf:
            raise UsageError(f"teacher temperature must lie above 0, found {self.teacher_temperature:g}")
        if self.unlabelled is None:
            return
        if self.teacher is None:
            raise UsageError("images without labels need someone who knows them; give a --teacher beside --unlabelled")
        for option, off in (("class_weights", "none"), ("sampler", "shuffle")):
            if getattr(self, option) != off:
                raise UsageError(
                    f"--{_in_words(option).replace(' ', '-')} {getattr(self, option)} needs the class of every image; "
                    "leave it out beside --unlabelled"
                )

    @property
    def first_epochs(self) -> int:
        """Passes of two-phase's first phase."""
        return _FIRST_EPOCHS if self.head_epochs is None else self.head_epochs

    @property
    def peak_lr(self) -> float:
        """Rate of the whole network, or of its head where only that learns or rates are discriminative."""
        if self.lr is not None:
            return self.lr
        if not self.trains_at_one_rate:
            return self.head_lr
        return self.head_lr * (_SCRATCH_SHARE if self.from_scratch else _PRETRAINED_SHARE)

    @property
    def trains_at_one_rate(self) -> bool:
        """Whether the whole network learns, each layer at the same rate."""
        return self.strategy in ("two-phase", "full")

    @property
    def consistent_views(self) -> bool:
        """Whether the teacher sees every view that the network learns from, not each image once."""
        if self.teacher is None or self.strategy == "linear-probe":
            return False
        if self.teacher_views == "auto":
            return bool(self.unlike_whole_images)
        return self.teacher_views == "consistent"

    @property
    def unlike_whole_images(self) -> tuple[str, ...]:
        """Augmentations whose views may show something else than the image: logits of the image are wrong for them."""
        mixup, cutmix = self.mixing
        cropped = RECIPES[self.augment].crop == "resized"
        kinds = {"MixUp": mixup, "CutMix": cutmix, f"the crops of --augment {self.augment}": cropped}
        return tuple(kind for kind, on in kinds.items() if on)

    @property
    def from_scratch(self) -> bool:
        """Whether nothing was learnt before."""
        return self.weights in ("random", "clip:random")

    def freezes_batch_norm(self, images: int) -> bool:
        """Whether BatchNorm stays in evaluation mode where the network trains on this many images."""
        if self.batch_norm == "auto":
            return not self.from_scratch and images < _ENOUGH_FOR_BATCH_NORM
        return self.batch_norm == "freeze"

    @property
    def mixing(self) -> tuple[float, float]:
        """(MixUp alpha, CutMix alpha): those given, else the recipe's; 0 is off."""
        mixup, cutmix = RECIPES[self.augment].mixing
        return (mixup if self.mixup is None else self.mixup, cutmix if self.cutmix is None else self.cutmix)


def _in_words(name: str) -> str:
    """A field by the name of its option."""
    return {"drop": "dropout", "clip": "clip grad", "select": "select metric"}.get(name, name.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of a training: of the head on cached features, or of the network on images."""

    name: str
    on_features: bool
    epochs: int
    lr: float

    def distillation_temperature(self, config: TrainConfig) -> float:
        """By which logits are divided before the teacher's are compared with the network's."""
        if config.teacher_temperature is not None:
            return config.teacher_temperature
        return _HEAD_TEMPERATURE if self.on_features else _NETWORK_TEMPERATURE


def phases_of(config: TrainConfig) -> tuple[Phase, ...]:
    if config.strategy == "linear-probe":
        return (Phase("head", True, config.epochs, config.peak_lr),)
    network = Phase("network", False, config.epochs, config.peak_lr)
    if config.strategy == "two-phase":
        return Phase("head", True, config.first_epochs, config.head_lr), network
    return (network,)
