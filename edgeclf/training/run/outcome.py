"""What is known of a run beside its network: the result of its training, and its teacher."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a training: `model.json`, written last.

    `scores` holds the validation figures of the weights that were kept, `temperature` what was fitted on them, with its
    evidence in `temperature_fit` (None in runs of earlier versions), `waiting_share` the share of the epochs of the
    network, without validation, in which it waited for images. `cut_short`: `train --finish` ended it.
    """

    schema: int = 1
    best_epoch: int
    training_seconds: float
    training_images: int
    data_sha256: str
    scores: dict[str, float]
    waiting_share: float | None = None
    temperature: float = 1.0
    thresholds: Thresholds = Thresholds()
    temperature_fit: TemperatureFit | None = None
    cut_short: bool = False


@dataclass(frozen=True, slots=True)
class RunTeacher:
    """The teacher of a run, and where it lay when the training began."""

    path: str
    info: TeacherInfo
