"""What each named choice of a training may be: so little that `--help` and shell completion load nothing for it."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

Strategy = Literal["linear-probe", "two-phase", "discriminative", "full"]
RecipeName = Literal["none", "light", "standard", "strong"]  # of augmentation
Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "onecycle", "plateau"]
Loss = Literal["cross-entropy", "focal", "asymmetric"]
ClassWeights = Literal["none", "balanced"]
Sampler = Literal["shuffle", "weighted"]
Metric = Literal["auto", "macro-f1", "top-1", "map"]  # that the best epoch is chosen by
Amp = Literal["auto", "off", "bf16", "fp16"]
AdaptAmp = Literal["auto", "off", "bf16"]  # squared covariances overflow fp16
Statistics = Literal["backbone", "data"]  # that images are normalised with
BatchNorm = Literal["auto", "freeze", "learn"]
Logger = Literal["none", "tensorboard"]
ImageCache = Literal["auto", "off", "on"]
TrainingDevice = Literal["auto", "cpu", "cuda"]
TeacherViews = Literal["auto", "stored", "consistent"]  # what a teacher sees: each image once, or every view of it
CurveSplit = Literal["val", "test"]  # that the points of a learning curve, and --compare, are evaluated on


def choices_of(config: type) -> dict[str, tuple[str, ...]]:
    """What each field of a config that is a named choice may be."""
    kinds = get_type_hints(config)
    return {name: get_args(kind) for name, kind in kinds.items() if get_origin(kind) is Literal}
