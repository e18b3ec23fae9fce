"""Who teaches what: opens the teacher of a training, and brings the images that only it knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.assign import join_clusters
from edgeclf.data.sources import some
from edgeclf.data.stratify import deal_iteratively
from edgeclf.data.usable import left_out_sentence
from edgeclf.training.adaptation.unlabelled import Unlabelled, read_unlabelled
from edgeclf.training.config import TrainConfig, phases_of
from edgeclf.training.distillation.distillation import NO_LABEL, Distillation, batches_of, stores_logits, teacher_logits
from edgeclf.training.distillation.teacher import Teacher, open_teacher
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.batches import TrainingImages
from edgeclf.training.loop.device import choose_device
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.outcome import RunTeacher
from edgeclf.training.run.run import Run
from edgeclf.training.seeds import seed_of
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.progress import Progress

_HELD_OUT = 0.15  # of images without labels, as of others


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a training learns from: its split, the teacher if there is one, and images that only the teacher knows.

    `checked`: every image of the split has just been read.
    """

    data: DataSplit
    distillation: Distillation | None = None
    record: RunTeacher | None = None
    unlabelled: DataSplit | None = None
    checked: bool = False


@contextmanager
def begin_lessons(
    config: TrainConfig, data: DataSplit | None, processes: Processes, progress: Progress
) -> Iterator[Lessons]:
    """The lessons of a new training; its teacher is open inside the block.

    Without `data` every image comes from `config.unlabelled`: a part of them is held out, to validate by agreement with
    the teacher.

    Raises
    ------
    UsageError
        There is neither a label nor an image for a teacher.
    DataError
        The teacher can't be used, knows other classes, or there is no image in the folder.
    """
    if config.teacher is None:
        if data is None:
            raise UsageError("name labelled images to train on, or a --teacher and --unlabelled images")
        yield Lessons(data)
        return
    with open_teacher(Path(config.teacher), choose_device(config.device, processes)) as teacher:
        found, record = _read_unlabelled(config, progress), RunTeacher(str(teacher.path.resolve()), teacher.info)
        if data is not None:
            teacher.check_task(multi_label=data.multi_label)
            teacher = teacher.for_classes(data.classes, data.root)
            _warn_of_leaks(teacher, data, progress)
            unlabelled = None if found is None else _beside(found.data, data, progress)
            info = replace(teacher.info, unlabelled=0 if unlabelled is None else len(unlabelled.images))
            distillation = Distillation(teacher, info, _unnamed(unlabelled, data))
            yield Lessons(data, distillation, replace(record, info=info), unlabelled)
        elif found is not None:
            data, logits = _labelled_by(teacher, found.data, config.seed, processes, progress)
            info = replace(teacher.info, unlabelled=len(data.of("train")), without_labels=True)
            distillation = Distillation(teacher, info, stored=logits)
            yield Lessons(data, distillation, replace(record, info=info), checked=True)
        else:
            raise UsageError("a teacher needs images to teach on; name labelled ones, or a folder with --unlabelled")


@contextmanager
def resume_lessons(
    run: Run, config: TrainConfig, data: DataSplit, processes: Processes, progress: Progress, *, strict: bool
) -> Iterator[Lessons]:
    """The lessons of a training that goes on. Raises DataError where its teacher is gone, or is another by now."""
    record = run.teacher()
    if record is None:
        yield Lessons(data)
        return
    known, unlabelled = record.info, run.unlabelled()
    with open_teacher(Path(record.path), choose_device(config.device, processes)) as teacher:
        if teacher.info.sha256 != known.sha256:
            raise DataError(
                f"the teacher {record.path} has changed since this training began: it was {known.sha256[:12]} and is "
                f"{teacher.info.sha256[:12]}; bring the old one back, end the run by --finish, or start a new one"
            )
        if unlabelled is not None:
            unlabelled, _ = leave_out_unusable(
                unlabelled, config.value_range, strict=strict, known=(), processes=processes, progress=progress
            )
        teacher = teacher.for_classes(data.classes, data.root)
        stored = None
        if known.without_labels and stores_logits(config):  # of the batches that named them, so equal in every bit
            stored = _of_training(_logits(teacher, data.images, processes, progress), data.images)
        yield Lessons(data, Distillation(teacher, known, _unnamed(unlabelled, data), stored), record, unlabelled)


def describe_lessons(config: TrainConfig, teacher: TeacherInfo, size_px: tuple[int, int]) -> str:
    """A sentence on the teacher, what it sees, and how much it counts."""
    sees = "each image once, as it is"
    if config.consistent_views:
        sees = "every augmented view, which takes longer"
        if config.teacher_views == "auto":
            sees += " but is right where images are mixed or cropped strongly"
    at = ", ".join(f"{phase.distillation_temperature(config):g} ({phase.name})" for phase in phases_of(config))
    labels = "; there are no labels: validation figures are agreement with it" if teacher.without_labels else ""
    return (
        f"teacher: {teacher.kind} {teacher.name} at {size_px[1]}x{size_px[0]}; it sees {sees}; temperature {at}, share "
        f"{1 if teacher.without_labels else config.teacher_share:g}{labels}"
    )


def _read_unlabelled(config: TrainConfig, progress: Progress) -> Unlabelled | None:
    if config.unlabelled is None:
        return None
    found = read_unlabelled(Path(config.unlabelled), config.value_range, progress=progress)
    if found.broken:
        images = len(found.broken) + len(found.data.images)
        progress.warn(f"{left_out_sentence(found.broken, images)}; they are left out")
    return found


def _unnamed(unlabelled: DataSplit | None, data: DataSplit) -> TrainingImages | None:
    """As training takes them beside `data`: nobody knows their class, or any of their labels."""
    if unlabelled is None:
        return None
    images = len(unlabelled.images)
    if data.multi_label:
        return TrainingImages(unlabelled.images, np.full((images, len(data.classes)), NO_LABEL, dtype=np.float32))
    return TrainingImages(unlabelled.images, np.full(images, NO_LABEL, dtype=np.intp))


def _beside(unlabelled: DataSplit, data: DataSplit, progress: Progress) -> DataSplit:
    """The images that are not in the data already. Raises DataError where none is left."""
    splits = {image.sha256: image.split for image in data.images}
    there = [splits[image.sha256] for image in unlabelled.images if image.sha256 in splits]
    if there:
        held_out = sum(split != "train" for split in there)
        progress.warn(
            f"{len(there)} of the {len(unlabelled.images)} unlabelled images are among the labelled ones"
            f"{f', {held_out} of them held out to validate or test' if held_out else ''}; they are left out"
        )
    rest = tuple(image for image in unlabelled.images if image.sha256 not in splits)
    if not rest:
        raise DataError(f"{unlabelled.root}: all {len(unlabelled.images)} images are among the labelled ones")
    return replace(unlabelled, images=rest)


def _labelled_by(
    teacher: Teacher, unlabelled: DataSplit, seed: int, processes: Processes, progress: Progress
) -> tuple[DataSplit, NDArray[np.float32]]:
    """A split whose labels are the teacher's predictions, 15 % of each held out; its logits of those that train.

    Files with the same bytes stay together. Raises DataError where nothing can be held out.
    """
    images = unlabelled.images
    logits = _logits(teacher, images, processes, progress)
    predicted = teacher.predicted(logits)
    there = {label for labels in predicted for label in labels}
    if not there:
        raise DataError(
            f"{unlabelled.root}: the teacher {teacher.path} predicts no label of any image, so there is nothing to "
            "learn; give other images, or a teacher with lower thresholds"
        )
    held_out = (_held_out_labels if teacher.multi_label else _held_out)(images, predicted, seed)
    if not held_out:
        raise DataError(f"{unlabelled.root}: wanted two different images at least, one of them to validate on")
    named = tuple(
        replace(image, labels=labels, split="val" if image.sha256 in held_out else "train")
        for image, labels in zip(images, predicted, strict=True)
    )
    if missing := [label for label in teacher.labels if label not in there]:
        progress.warn(f"the teacher predicts no image to be {some(map(repr, missing))}; the student can't learn that")
    fractions = (1 - _HELD_OUT, _HELD_OUT, 0.0)
    data = DataSplit(
        root=unlabelled.root,
        classes=teacher.labels,
        images=named,
        seed=seed,
        fractions=fractions,
        multi_label=teacher.multi_label,
    )
    return data, _of_training(logits, named)


def _logits(
    teacher: Teacher, images: tuple[LabelledImage, ...], processes: Processes, progress: Progress
) -> NDArray[np.float32]:
    """(N, classes) logits of images whose labels it does not need."""
    unnamed = TrainingImages(images, np.zeros(len(images), dtype=np.intp))
    progress.step("teacher", batches_of(unnamed, processes))
    return teacher_logits(teacher, unnamed, processes, progress)


def _of_training(logits: NDArray[np.float32], images: Sequence[LabelledImage]) -> NDArray[np.float32]:
    """The rows of the images that train."""
    return logits[[image.split == "train" for image in images]]


def _held_out(images: tuple[LabelledImage, ...], predicted: Sequence[tuple[str, ...]], seed: int) -> set[str]:
    """SHA-256 of the images to validate on: a share of those with the same predictions, never the last of them."""
    kinds: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for image, labels in zip(images, predicted, strict=True):
        kinds[labels].add(image.sha256)
    chosen: set[str] = set()
    for files in sorted(kinds.values(), key=len, reverse=True):  # the largest first: it has one to spare
        drawn = sorted(files, key=lambda sha256: seed_of(seed, "held out", sha256))
        fewest = 1 if not chosen else 0
        chosen.update(drawn[: min(len(files) - 1, max(fewest, round(_HELD_OUT * len(files))))])
    return chosen


def _held_out_labels(images: tuple[LabelledImage, ...], predicted: Sequence[tuple[str, ...]], seed: int) -> set[str]:
    """The same where several are predicted of an image: by iterative stratification, as `edgeclf data split` does."""
    files = join_clusters([(image.sha256,) for image in images])
    order = sorted(files, key=lambda file: seed_of(seed, "held out", images[file[0]].sha256))
    dealt = deal_iteratively(order, predicted, (1 - _HELD_OUT, _HELD_OUT))
    return {images[file[0]].sha256 for file, place in zip(order, dealt, strict=True) if place}


def _warn_of_leaks(teacher: Teacher, data: DataSplit, progress: Progress) -> None:
    for split, name in (("val", "validation"), ("test", "test")):
        images = data.of(split)  # type: ignore[arg-type]
        if seen := teacher.seen(images):
            progress.warn(
                f"{seen} of {len(images)} {name} images trained the teacher, so figures on them may be optimistic, its "
                "own and its student's; train both on one split file: `edgeclf data split`"
            )
    if not teacher.trained_on and teacher.data_sha256 not in (None, data.digest):
        progress.warn(
            "the teacher was trained on another split: its training images may be among the validation and test images"
        )
