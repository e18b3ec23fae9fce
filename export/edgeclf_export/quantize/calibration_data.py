"""The images of an INT8 export, each with one role: to calibrate, to choose the step of the ladder, or to test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.quantize.calibration import (
    CALIBRATION_IMAGES,
    FEW_IMAGES,
    CalibrationImages,
    load_calibration,
    load_pixels,
    part,
    without,
)
from edgeclf_export.quantize.evaluation_set import EvaluationSet
from edgeclf_export.quantize.few_images import (
    SELECTED,
    ExtraImages,
    about,
    what_can_be_shown,
    what_is_learned_from,
    why_nothing_can_be_learned,
)
from edgeclf_runtime.bundle.manifest import label_logits
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, class_numbers, label_targets, read_folder
from edgeclf_runtime.metrics.temperature import fit_temperature
from edgeclf_runtime.progress import Progress

NO_IMAGES = (
    "int8 needs real images to calibrate and to evaluate on: give --calib-data DIR (best with a folder for each "
    "label), or export a run, which has its own"
)


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What an INT8 model is calibrated on, and the accuracy gate that it has to pass.

    Attributes
    ----------
    calib_data
        Folder to calibrate on; None: the training images of the run.
    calib_images
        How many; None: 300, or fewer where labels are too few and some images are needed to compare predictions on.
    gate
        The most that top-1 may fall, or mAP where images may have several labels.
    fallback
        Take 16 bits where no int8 step passes the gate, instead of failing.
    learn_minutes
        How long weights may learn through Q/DQ where no other int8 step passes; None: not at all.
    resume
        Go on with learning that was interrupted.
    floor
        Former name of `gate`, when it is made.
    """

    calib_data: Path | None = None
    calib_images: int | None = None
    gate: AccuracyGate = AccuracyGate()
    fallback: bool = False
    seed: int = 0
    learn_minutes: float | None = None
    resume: bool = False
    floor: InitVar[AccuracyGate | None] = None

    def __post_init__(self, floor: AccuracyGate | None) -> None:
        if self.learn_minutes is not None and not 0 < self.learn_minutes < math.inf:
            raise UsageError(f"weights learn for a number of minutes above 0, found {self.learn_minutes:g}")
        if floor is not None:
            warnings.warn("Int8Options(floor=…) is now Int8Options(gate=…)", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "gate", floor)


@dataclass(frozen=True, slots=True)
class Roles:
    """Images to calibrate on, to evaluate and to test with; `source` is where the first come from."""

    calibration: Sequence[LabelledImage]
    evaluation: Sequence[LabelledImage]
    test: Sequence[LabelledImage]
    source: str


@dataclass(frozen=True)
class CalibrationData:
    """Calibration images, evaluation images (`evaluation_set` and `pixels`), and how to use the test images, once.

    `learning`: the images that weights may learn from, none of which evaluates or tests; none where too few evaluate
    to show that what was learned passes.
    """

    calibration: CalibrationImages
    evaluation_set: EvaluationSet
    pixels: NDArray[np.uint8]
    learning: tuple[LabelledImage, ...]
    open_test: Callable[[str], tuple[EvaluationSet, NDArray[np.uint8]]] | None


def load_calibration_data(
    exportable: Exportable,
    options: Int8Options,
    progress: Progress,
) -> CalibrationData:
    """The images by their roles; no image has two. A note reports what the evaluation images can show.

    Raises
    ------
    UsageError
        Neither a run nor --calib-data gives images.
    DataError
        No image is left to calibrate or to evaluate on; an image can't be read.
    """
    if exportable.scores != "softmax" and not exportable.multi_label:
        raise UsageError(
            "int8 has to pass an accuracy gate on top-1, and a network of sigmoid scores has no top-1; export fp16, "
            "or say with --multi-label that an image may have several labels"
        )
    data, roles = exportable.data, assign_images(exportable, options)
    held_out = {image.sha256 for image in (*roles.evaluation, *roles.test)}
    extra = ExtraImages.needed(roles.evaluation, options.gate)
    free = len(without(roles.calibration, held_out))
    progress.step("reading the calibration images")
    calibration = load_calibration(
        roles.calibration,
        held_out,
        exportable.pixels,
        called=roles.source,
        most=options.calib_images or extra.spared(free, CALIBRATION_IMAGES),
        seed=options.seed,
    )
    learns = options.learn_minutes is not None
    pool = without((*roles.calibration, *(data.split.of("train") if data is not None else ())), held_out)
    others = extra.of(without(pool, calibration.hashes), len(pool), learns=learns, seed=options.seed)
    learning = without(pool, {image.sha256 for image in others})
    source = f"validation images of {data.called}" if data is not None else f"images, half of {roles.source}"
    progress.note(what_can_be_shown(roles.evaluation, others, source, options.gate))
    if learns:
        too_few = why_nothing_can_be_learned(len(roles.evaluation) + len(others), options.gate)
        progress.note(too_few or what_is_learned_from(len(learning), len(others)))
        learning = () if too_few else learning
    images = [*roles.evaluation, *others]
    progress.step(f"running the reference on {len(images)} evaluation images")
    pixels = load_pixels(images, exportable.pixels, "the evaluation images")
    temperature = exportable.training.temperature if exportable.training else None
    logits = exportable.run_on_any(pixels)
    evaluation_set = _evaluation_set(
        roles.evaluation, exportable, logits[: len(roles.evaluation)], f"{source}, {SELECTED}", temperature
    )
    if others:
        trained_on = {image.sha256 for image in data.split.of("train")} if data is not None else set()
        evaluation_set = replace(
            evaluation_set,
            reference=logits,
            labels=None,
            targets=None,
            groups=_groups(images),
            source=about(roles.evaluation, others, source, trained_on),
        )
    if not roles.test or data is None:
        return CalibrationData(calibration, evaluation_set, pixels, learning, None)
    count_use = data.count_use

    def open_test(digest: str) -> tuple[EvaluationSet, NDArray[np.uint8]]:
        source = count_use(digest)
        test_pixels = load_pixels(roles.test, exportable.pixels, "the test images")
        return _evaluation_set(
            roles.test, exportable, exportable.run_on_any(test_pixels), source, evaluation_set.temperature
        ), test_pixels

    return CalibrationData(calibration, evaluation_set, pixels, learning, open_test)


def assign_images(exportable: Exportable, options: Int8Options) -> Roles:
    """Images by their roles: a run's by its splits, a folder's in two halves.

    Raises
    ------
    UsageError
        Neither a run nor --calib-data gives images.
    DataError
        No image is left to evaluate on.
    """
    data, folder = exportable.data, options.calib_data
    names = () if exportable.multi_label else exportable.labels  # a folder of images says nothing of several labels
    if data is not None:
        train, val, test = map(data.split.of, SPLITS)
        if not val:
            raise DataError(
                f"{data.called} has no validation images, which int8 is evaluated on; split the data with some"
            )
        if folder is None:
            return Roles(train, val, test, f"training images of {data.called}")
        return Roles(read_folder(folder, names), val, test, folder.resolve().name)
    if folder is None:
        raise UsageError(NO_IMAGES)
    found = read_folder(folder, names)
    calibration, evaluation = part(found, options.seed)
    if not evaluation:
        count = f"{len(found)} images, too few" if found else "no images"
        raise DataError(
            f"{folder}: {count} to calibrate on some and to evaluate on others; {FEW_IMAGES} for each are enough"
        )
    return Roles(calibration, evaluation, (), folder.resolve().name)


def _evaluation_set(
    images: Sequence[LabelledImage],
    exportable: Exportable,
    reference: NDArray[np.float32],
    source: str,
    temperature: float | None,
) -> EvaluationSet:
    known, classes = all(image.labels is not None for image in images), exportable.labels
    if exportable.multi_label:
        temperature = exportable.temperature if temperature is None else temperature
        targets, least = label_targets(images, classes) > 0 if known else None, exportable.thresholds.per_class
        return EvaluationSet(
            reference, None, temperature, _groups(images), source, targets, label_logits(least or (), temperature)
        )
    labels = class_numbers(images, classes) if known else None
    if temperature is None:
        temperature = 1.0 if labels is None else fit_temperature(reference, labels).temperature
    return EvaluationSet(reference, labels, temperature, _groups(images), source)


def _groups(images: Sequence[LabelledImage]) -> list[str | None] | None:
    groups = [image.group for image in images]
    return groups if any(groups) else None
