"""What each named choice of a training may be: types only, so that `--help` and shell completion load nothing."""

from __future__ import annotations

from typing import Literal

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
