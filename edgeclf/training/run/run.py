"""A run on disk: the config of a training, its history, and the trained network. Never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.data.several_labels import SeveralLabels, check_several_labels
from edgeclf.data.split_file import load_split, save_split
from edgeclf.data.usable import Unreadable, leave_out
from edgeclf.evaluation.test_set_usage import known_uses, new_use, record_test_use
from edgeclf.training.config import TrainConfig
from edgeclf.training.run.checkpoint import Checkpoint, save_checkpoint
from edgeclf.training.run.outcome import Outcome, RunTeacher
from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.sources.trained import Architecture, exportable_from_training
from edgeclf_export.sources.weights import read_state
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.file_lock import take
from edgeclf_runtime.images.data_split import DataSplit, LabelledData

if TYPE_CHECKING:
    import torch

CONFIG, SPLIT, NETWORK = "config.json", "split.json", "network.json"  # written when training starts
LEFT_OUT = "left_out.json"  # images of the split that could not be used
TEACHER, UNLABELLED = "teacher.json", "unlabelled.json"  # only with a teacher; images that it alone knows
MODEL, WEIGHTS, HISTORY, CHECKPOINT = "model.json", "model.safetensors", "history.jsonl", "checkpoint"
LOCK = ".lock"
_LATER_NS = 1_000_000  # finer than that no file system is sure to keep apart


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one training."""

    path: Path

    @classmethod
    def create(
        cls,
        path: Path,
        config: TrainConfig,
        data: DataSplit,
        architecture: Architecture,
        start: Checkpoint,
        left_out: Sequence[Unreadable] = (),
        teacher: RunTeacher | None = None,
        unlabelled: DataSplit | None = None,
    ) -> Run:
        """A new folder with data and config; the config, which makes it a run that can be resumed, is written last.

        Raises UsageError where a run is there already.
        """
        cls.check_free(path)
        run = cls(path)
        save_split(data, path / SPLIT, force=True)
        run.write_left_out(left_out)
        if teacher is not None:
            run.write_teacher(teacher)
        if unlabelled is not None:
            save_split(unlabelled, path / UNLABELLED, force=True)
        run.write_json(NETWORK, to_json(architecture))
        save_checkpoint(path / CHECKPOINT, start)
        if config.trains_at_one_rate:  # by name: a run keeps its rate whatever later releases take
            config = replace(config, lr=config.peak_lr)
        run.write_json(CONFIG, to_json(config))
        return run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from training in this folder meanwhile. Raises UsageError where one does.

        Partial files that a killed training left are removed. The lock is the process's own (not of the data workers
        that it forks) and dies with it, however it dies.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((self.path / LOCK).open("a"))
            except OSError as error:
                raise DataError(f"{self.path} can't be written: {error.strerror}") from error
            try:
                take(file)
            except OSError as error:
                raise UsageError(
                    f"another process trains in {self.path}; wait for it, or choose another --name"
                ) from error
            for left in self.path.glob(".*.partial-*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises UsageError where a run is there already."""
        if (path / CONFIG).exists():
            ended = " whose training has ended" if Run(path).finished else f"; --resume {path} goes on with it"
            raise UsageError(f"{path} holds a run{ended}; choose another --name for a new one")

    @staticmethod
    def is_at(path: Path) -> bool:
        return (path / CONFIG).is_file()

    @classmethod
    def open(cls, path: str | Path) -> Run:
        path = Path(path)
        if not cls.is_at(path):
            raise DataError(f"{path}: no run (it has no {CONFIG}); `edgeclf train` makes one under runs/")
        return cls(path)

    @classmethod
    def newest(cls, folder: Path = Path("runs")) -> Run:
        """The run whose training ended last. Raises UsageError where there is none."""
        finished = [path.parent for path in folder.glob(f"*/{MODEL}") if (path.parent / WEIGHTS).is_file()]
        if not finished:
            raise UsageError(f"no finished run under {folder}/; train one with `edgeclf train`, or give --model NAME")
        # by the weights, see `become_newest`: `eval --operating-point` writes model.json again
        return cls(max(finished, key=lambda path: (path / WEIGHTS).stat().st_mtime_ns))

    def become_newest(self) -> None:
        """Dates the weights after those of the runs beside it, whatever the clock says: it may have been set back."""
        others = [path.stat().st_mtime_ns for path in self.path.parent.glob(f"*/{WEIGHTS}") if path.parent != self.path]
        weights = self.path / WEIGHTS
        if others and max(others) >= weights.stat().st_mtime_ns:
            os.utime(weights, ns=(max(others) + _LATER_NS, max(others) + _LATER_NS))

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def finished(self) -> bool:
        return (self.path / MODEL).is_file()

    def config(self) -> TrainConfig:
        config = from_json(TrainConfig, self.read_json(CONFIG), str(self.path / CONFIG))
        if config.lr is None and config.trains_at_one_rate:  # made when a tenth of the head's rate was the default
            return replace(config, lr=config.head_lr / 10)
        return config

    def data(self) -> DataSplit:
        """The split as it was given, images that can't be used included: its digest identifies it."""
        return load_split(self.path / SPLIT, several_labels="known")

    def usable_data(self) -> DataSplit:
        """The split without the images that were left out."""
        return leave_out(self.data(), self.left_out())

    def left_out(self) -> tuple[Unreadable, ...]:
        """Images that could not be used when it was trained; none in runs of earlier versions."""
        place = self.path / LEFT_OUT
        return from_json(tuple[Unreadable, ...], self.read_json(LEFT_OUT), str(place)) if place.exists() else ()

    def write_left_out(self, left_out: Sequence[Unreadable]) -> None:
        self.write_json(LEFT_OUT, to_json(left_out))

    def teacher(self) -> RunTeacher | None:
        """None: it was trained without one."""
        place = self.path / TEACHER
        return from_json(RunTeacher, self.read_json(TEACHER), str(place)) if place.exists() else None

    @property
    def without_labels(self) -> bool:
        """Whether the labels of its data are its teacher's predictions."""
        teacher = self.teacher()
        return teacher is not None and teacher.info.without_labels

    def unlabelled(self) -> DataSplit | None:
        """The images beside its data that had no labels, as a split of one class; None: there were none."""
        return load_split(self.path / UNLABELLED) if (self.path / UNLABELLED).exists() else None

    def write_teacher(self, teacher: RunTeacher) -> None:
        self.write_json(TEACHER, to_json(teacher))

    def architecture(self) -> Architecture:
        return from_json(Architecture, self.read_json(NETWORK), str(self.path / NETWORK))

    def outcome(self) -> Outcome:
        """Raises DataError where training has not ended."""
        if not self.finished:
            raise DataError(
                f"{self.path}: its training has not ended; go on with `edgeclf train --resume {self.path}`, or keep "
                f"its best epoch so far with `edgeclf train --finish {self.path}`"
            )
        return from_json(Outcome, self.read_json(MODEL), str(self.path / MODEL))

    def weights(self) -> dict[str, torch.Tensor]:
        return read_state(self.path / WEIGHTS)

    def exportable(self, *, several_labels: SeveralLabels = "known") -> Exportable:
        """The trained network as the exporter takes it.

        Raises DataError where training has not ended, UsageError where its images have several labels and that is
        refused.
        """
        outcome, teacher = self.outcome(), self.teacher()
        check_several_labels(self.data().multi_label, several_labels, str(self.path))
        training = Training(
            run=self.name,
            seconds=outcome.training_seconds,
            data_sha256=outcome.data_sha256,
            temperature=outcome.temperature,
            thresholds=outcome.thresholds,
            temperature_fit=outcome.temperature_fit,
            test_uses=known_uses(self.path, outcome.data_sha256),
            teacher=None if teacher is None else teacher.info,
        )
        data = self.usable_data()
        there = replace(data, images=tuple(image for image in data.images if image.path.is_file()))
        gone = len(data.images) - len(there.images)
        notes = (f"{gone:,} of the run's {len(data.images):,} images are no longer there and left out",) if gone else ()
        validation = there.of("val")
        if (
            data.multi_label
        ):  # the proof takes images at even distances: in the order of their labels, some of each kind
            validation = tuple(sorted(validation, key=lambda image: image.labels or ()))
        files = tuple(image.path for image in validation)
        exportable = exportable_from_training(self.architecture(), self.weights(), training, files)
        notes = (*exportable.notes, *notes)
        exportable = replace(exportable, data=self._labelled(there), notes=notes)
        return replace(exportable, scores="sigmoid", multi_label=True) if data.multi_label else exportable

    def _labelled(self, data: DataSplit) -> LabelledData:
        """The split as the exporter takes it; a use of the test images is counted in the run."""
        use = new_use()  # one for all targets of an export
        tests = len(data.of("test"))

        def count_use(subject: str) -> str:
            made = record_test_use(
                self.path, subject=subject, data_sha256=self.data().digest, images=tests, verb="export", use=use
            )
            return str(made)

        if self.without_labels:  # what its teacher predicted is no label
            data = replace(data, images=tuple(replace(image, labels=None) for image in data.images))
        return LabelledData(data, f"run {self.name}", count_use)

    def history(self) -> list[dict[str, Any]]:
        """One object an epoch, as they were written."""
        place = self.path / HISTORY
        return [parse_json(line) for line in place.read_text().splitlines()] if place.exists() else []

    def save(self, state: Checkpoint) -> None:
        """What it goes on from, and its history."""
        save_checkpoint(self.path / CHECKPOINT, state)
        self.write_history(state)

    def write_history(self, state: Checkpoint) -> None:
        """The history of a checkpoint: a killed training may have left one that is an epoch behind."""
        with writing(self.path / HISTORY, force=True) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in state.history))

    def write_json(self, name: str, content: Any) -> None:
        with writing(self.path / name, force=True) as draft:
            draft.write_text(json.dumps(content, indent=1) + "\n")

    def read_json(self, name: str) -> Any:
        try:
            return parse_json((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name}: {error}") from error
