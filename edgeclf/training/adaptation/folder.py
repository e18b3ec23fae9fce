"""An adaptation on disk: its config, its images, its history, and the adapted weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.data.split_file import load_split, save_split
from edgeclf.data.usable import Unreadable
from edgeclf.training.adaptation.unlabelled import Unlabelled
from edgeclf.training.adaptation.vicreg import COVARIANCE, INVARIANCE, VARIANCE
from edgeclf.training.choices import AdaptAmp, TrainingDevice, choices_of
from edgeclf.training.run.checkpoint import Checkpoint, save_checkpoint
from edgeclf.training.run.run import CHECKPOINT, NETWORK, SPLIT, Run
from edgeclf_export.sources.adapted import WEIGHTS, Adapted
from edgeclf_export.sources.trained import CLIP, Architecture
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import DataError, UsageError

CONFIG, OUTCOME, BROKEN = "adapt.json", "adapted.json", "broken.json"  # not a run's names: an adaptation is no run
_LEAST_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptConfig:
    """One adaptation.

    Attributes
    ----------
    model, weights, img_size
        The backbone and where to start from, as `edgeclf train` takes them; no CLIP tower.
    epochs, batch_size
        Passes over the images, and how many of them a step compares with each other. A last, smaller batch is left out.
    lr
        Peak rate of AdamW; None: 1e-3 for random weights, else 1e-4.
    value_range
        Stored values of images of more than 8 bits that become black and white; None: all bits of the file.
    embedding
        Dimensions of the embeddings that are compared; the layers that make them are thrown away.
    invariance, variance, covariance
        Weights of VICReg's terms.
    """

    model: str
    weights: str = "hub"
    img_size: int | None = None
    epochs: int = 20
    batch_size: int = 128
    lr: float | None = None
    weight_decay: float = 1e-4
    embedding: int = 512
    invariance: float = INVARIANCE
    variance: float = VARIANCE
    covariance: float = COVARIANCE
    hflip: bool = True
    vflip: bool = False
    amp: AdaptAmp = "auto"
    device: TrainingDevice = "auto"
    workers: int | None = None
    seed: int = 0
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.weights.startswith(CLIP):
            raise UsageError("adapt takes timm's and torchvision's classifiers, no CLIP towers; choose other --weights")
        for name, choices in choices_of(AdaptConfig).items():
            if (found := getattr(self, name)) not in choices:
                raise UsageError(f"no {name} {found!r} for adapt; choose one of {', '.join(choices)}")
        if self.epochs < 1 or self.embedding < 2:
            raise UsageError(f"wanted 1 epoch and 2 dimensions at least, found {self.epochs} and {self.embedding}")
        if self.batch_size < _LEAST_BATCH:
            raise UsageError(
                f"the images of a batch are compared with each other, so it has {_LEAST_BATCH} at least, "
                f"found {self.batch_size}"
            )
        if self.img_size is not None and self.img_size < 8:
            raise UsageError(f"an image size is at least 8 px, found {self.img_size}")
        if not 0 < self.peak_lr < math.inf:
            raise UsageError(f"lr must lie above 0, found {self.lr}")

    @property
    def peak_lr(self) -> float:
        if self.lr is not None:
            return self.lr
        return 1e-3 if self.weights == "random" else 1e-4

    @property
    def processes(self) -> int:
        """Processes that decode and make views, as a training counts them."""
        return min(8, usable_cores() - 1) if self.workers is None else self.workers

    @property
    def term_weights(self) -> tuple[float, float, float]:
        return self.invariance, self.variance, self.covariance


@dataclass(frozen=True, slots=True)
class Adaptation:
    """The folder of one adaptation."""

    path: Path

    @classmethod
    def create(
        cls, path: Path, config: AdaptConfig, images: Unlabelled, architecture: Architecture, start: Checkpoint
    ) -> Adaptation:
        """A new folder with config and images; `adapt.json` is written last: with it, it can be resumed."""
        made = cls(path)
        made.write_images(images)
        made._files.write_json(NETWORK, to_json(architecture))
        save_checkpoint(path / CHECKPOINT, start)
        made._files.write_json(CONFIG, to_json(config))
        return made

    @classmethod
    def open(cls, path: Path) -> Adaptation:
        """Raises DataError where there is none."""
        if not cls.is_at(path):
            raise DataError(f"{path}: no adaptation (it has no {CONFIG}); `edgeclf adapt` makes one")
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        return (path / CONFIG).is_file()

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises UsageError where an adaptation or a run is there already."""
        if Adaptation.is_at(path):
            ended = " that has ended" if Adaptation(path).finished else f"; --resume {path} goes on with it"
            raise UsageError(f"{path} holds an adaptation{ended}; choose another --output for a new one")
        if Run.is_at(path):
            raise UsageError(f"{path} holds a run of train; choose another --output")

    @property
    def finished(self) -> bool:
        return (self.path / OUTCOME).is_file()

    @property
    def weights(self) -> Path:
        """The file that `edgeclf train --weights` takes; the folder stands for it as well."""
        return self.path / WEIGHTS

    @contextmanager
    def alone(self) -> Iterator[None]:
        """As `Run.alone`."""
        with self._files.alone():
            yield

    def config(self) -> AdaptConfig:
        return from_json(AdaptConfig, self._files.read_json(CONFIG), str(self.path / CONFIG))

    def architecture(self) -> Architecture:
        return from_json(Architecture, self._files.read_json(NETWORK), str(self.path / NETWORK))

    def images(self) -> Unlabelled:
        broken = from_json(tuple[Unreadable, ...], self._files.read_json(BROKEN), str(self.path / BROKEN))
        return Unlabelled(load_split(self.path / SPLIT), broken)

    def write_images(self, images: Unlabelled) -> None:
        save_split(images.data, self.path / SPLIT, force=True)
        self._files.write_json(BROKEN, to_json(images.broken))

    def outcome(self) -> Adapted:
        return from_json(Adapted, self._files.read_json(OUTCOME), str(self.path / OUTCOME))

    def write_outcome(self, adapted: Adapted) -> None:
        """Written last."""
        self._files.write_json(OUTCOME, to_json(adapted))

    def history(self) -> list[dict[str, Any]]:
        """One object an epoch."""
        return self._files.history()

    def save(self, state: Checkpoint) -> None:
        self._files.save(state)

    def write_history(self, state: Checkpoint) -> None:
        self._files.write_history(state)

    @property
    def _files(self) -> Run:
        """The folder as a run's: the same lock, atomic JSON files and history."""
        return Run(self.path)
