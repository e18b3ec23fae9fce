"""What a teacher brought: the same student trained without it, and the paired difference of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.split import require_images
from edgeclf.evaluation.inference import Predictions
from edgeclf.evaluation.test_set_usage import new_use, record_test_use
from edgeclf.training.choices import CurveSplit
from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import Processes
from edgeclf.training.run.evaluate import predict_with_run
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.manifest import label_logits
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage, class_numbers, label_targets
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.average_precision import mean_average_precision
from edgeclf_runtime.metrics.intervals import Interval, Resampling, number_groups
from edgeclf_runtime.metrics.main_figure import Figure, top1_or_map
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.metrics.paired import change_interval, unchanged_interval
from edgeclf_runtime.metrics.paired_labels import map_change
from edgeclf_runtime.progress import SILENT, Progress

GAIN = "teacher_gain.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherGain:
    """The student with its teacher against the same without: the content of teacher_gain.json.

    Attributes
    ----------
    run, without
        The folders of the two runs.
    split, images
        What both were evaluated on; validation images have also selected the best epoch of each.
    figure
        What `value` is with the teacher, and `value_without` without it: "top-1", or "mAP" where images may have
        several labels.
    gained, lost
        Images that only the taught student predicts right, and only the other one; or labels of images, each student
        at its own thresholds.
    points, interval
        The change of that figure in points, with its paired 95 % interval.
    test_use
        Which use of the test split this was, counted from 1; None: validation images.
    """

    schema: int = 1
    run: str
    without: str
    split: CurveSplit
    images: int
    value: float = field(metadata=top1_or_map("top1"))
    value_without: float = field(metadata=top1_or_map("top1_without"))
    gained: int
    lost: int
    points: float
    interval: Interval
    test_use: int | None = None
    figure: Figure = field(default="top-1", metadata=LATER)

    @property
    def selected_here(self) -> bool:
        return self.split == "val"

    def __str__(self) -> str:
        name = "validation" if self.selected_here else "test"
        use = f"use no. {self.test_use} of this test split"
        interval = f"[{self.interval.low:+.2f}, {self.interval.high:+.2f}]"
        return (
            f"the teacher brings {self.points:+.2f} points of {self.figure} {interval}: "
            f"{self.value:.3f} with it, {self.value_without:.3f} without, on {self.images} {name} images "
            f"({'both selected on these images' if self.selected_here else use})"
        )


def check_comparable(config: TrainConfig, *, labelled: bool) -> None:
    """Raises UsageError where there is no teacher to leave out, or no label to learn from without it."""
    if config.teacher is None:
        raise UsageError("--compare shows what a teacher brings; give a --teacher")
    if not labelled:
        raise UsageError(
            "without its teacher the student has no labels to learn from; give labelled images to --compare"
        )


def check_comparable_run(run: Run, split: CurveSplit) -> None:
    """Raises as `check_comparable`, of a run that is there already, and DataError where it has no such images."""
    if run.config().teacher is None:
        raise UsageError(
            f"{run.path} had no teacher that --compare could leave out; start a new run with --teacher and --compare"
        )
    if run.without_labels:
        raise UsageError(
            f"{run.path} learnt from its teacher alone, and without it there is no label to learn from; leave out "
            "--compare, or start a new run on labelled images"
        )
    require_images(run.usable_data(), split, run.path, "compare")
    _check_place(run)


def _check_place(run: Run) -> None:
    """Raises UsageError where the student without a teacher would go and something else is."""
    folder = untaught_folder(run.path)
    if not Run.is_at(folder):
        return
    other = Run(folder)
    if other.config() != without_teacher(run) or other.data().digest != run.data().digest:
        raise UsageError(f"{folder} holds another run; move it away: the student without its teacher goes there")


def untaught_folder(run: Path) -> Path:
    """Where the student without its teacher goes: beside the run."""
    return run.with_name(f"{run.name}-no-teacher")


def measure_teacher_gain(
    run: Run,
    split: CurveSplit = "val",
    progress: Progress = SILENT,
    processes: Processes = Processes(),
    *,
    strict: bool = False,
) -> TeacherGain | None:
    """Trains the run's student without its teacher, as far as that is not done, and compares the two.

    It has the same seed, and as many steps: for unlabelled images, which it can't use, it has more epochs. The first
    of several processes evaluates; the others return None. Raises as `train` does.
    """
    folder = untaught_folder(run.path)
    check_comparable_run(run, split)
    progress.note(f"the same student without its teacher: {folder}")
    config = without_teacher(run)
    if not Run.is_at(folder):
        other = train(config, run.data(), folder, progress, processes, strict=strict)
    else:
        other = Run(folder) if Run(folder).finished else resume(folder, progress, processes, strict=strict)
    processes.wait()
    if not processes.is_first:
        return None
    gain = _compare(run, other, split, progress)
    run.write_json(GAIN, to_json(gain))
    return gain


def without_teacher(run: Run) -> TrainConfig:
    """The run's config without its teacher, its steps as many, to the nearest epoch."""
    config, usual, unlabelled = run.config(), TrainConfig(model=""), run.unlabelled()
    labelled = len(run.usable_data().of("train"))
    longer = 1.0 if unlabelled is None else 1 + len(unlabelled.images) / labelled
    own = {name: getattr(usual, name) for name in ("teacher", "teacher_temperature", "teacher_share", "teacher_views")}
    heads = config.head_epochs
    if config.strategy == "two-phase" and unlabelled is not None:
        heads = round(config.first_epochs * longer)
    return replace(config, **own, unlabelled=None, epochs=round(config.epochs * longer), head_epochs=heads)


def _compare(run: Run, other: Run, split: CurveSplit, progress: Progress) -> TeacherGain:
    images = run.usable_data().of(split)
    use = _count_use(run, other, len(images)) if split == "test" else None
    taught, plain = _on_the_same(run, other, images, progress)
    if not taught.images:
        raise DataError(f"{run.path}: none of its {len(images)} {split} images can be read any more")
    resampling = Resampling(len(taught.images), number_groups([image.group for image in taught.images]))
    compare = _compare_labels if run.data().multi_label else _compare_classes
    return TeacherGain(
        run=str(run.path),
        without=str(other.path),
        split=split,
        images=len(taught.images),
        test_use=use,
        **compare(run, other, taught, plain, resampling),
    )


def _on_the_same(
    run: Run, other: Run, images: Sequence[LabelledImage], progress: Progress
) -> tuple[Predictions, Predictions]:
    """The logits of both for the images that both could read, in one order."""
    found = [predict_with_run(each.exportable(several_labels="known"), images, 16, progress) for each in (run, other)]
    names = [{image.name: row for row, image in enumerate(each.images)} for each in found]
    both = [image for image in found[0].images if image.name in names[1]]
    rows = [[places[image.name] for image in both] for places in names]
    taught, plain = (
        replace(each, images=tuple(both), logits=each.logits[chosen]) for each, chosen in zip(found, rows, strict=True)
    )
    return taught, plain


def _compare_classes(
    run: Run, other: Run, taught: Predictions, plain: Predictions, resampling: Resampling
) -> dict[str, Any]:
    classes = class_numbers(taught.images, run.data().classes)
    after, before = (each.logits.argmax(axis=1) == classes for each in (taught, plain))
    return {
        "value": float(after.mean()),
        "value_without": float(before.mean()),
        "gained": int((after & ~before).sum()),
        "lost": int((before & ~after).sum()),
        "points": 100 * float(after.mean() - before.mean()),
        "interval": change_interval(before, after, resampling.groups),
    }


def _compare_labels(
    run: Run, other: Run, taught: Predictions, plain: Predictions, resampling: Resampling
) -> dict[str, Any]:
    targets = label_targets(taught.images, run.data().classes) > 0
    value, without = (mean_average_precision(each.logits.astype(np.float64), targets) for each in (taught, plain))
    if value is None or without is None:
        raise DataError(f"{run.path}: none of these {len(targets)} images has a label, so there is no mAP to compare")
    after, before = (_predicted(*each) == targets for each in ((run, taught), (other, plain)))
    change = map_change(taught.logits.astype(np.float64), plain.logits.astype(np.float64), targets, resampling)
    return {
        "value": value,
        "value_without": without,
        "gained": int((after & ~before).sum()),
        "lost": int((before & ~after).sum()),
        "points": 100 * change.change,
        "interval": change.interval or unchanged_interval(resampling),
        "figure": "mAP",
    }


def _predicted(run: Run, found: Predictions) -> NDArray[np.bool_]:
    """(N, labels) at the run's own thresholds."""
    outcome = run.outcome()
    least = outcome.thresholds.per_class or (THRESHOLD,) * found.logits.shape[1]
    return found.logits >= label_logits(least, outcome.temperature)


def _count_use(run: Run, other: Run, images: int) -> int:
    """Records one use of the test split, of both runs; which one it is."""
    use, numbers = new_use(), []
    for each in (run, other):
        made = record_test_use(
            each.path,
            subject=digest_state(each.weights()),
            data_sha256=run.data().digest,
            images=images,
            verb="train",
            use=use,
        )
        numbers.append(made.number)
    return max(numbers)
