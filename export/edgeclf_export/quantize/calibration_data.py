"""The images of an INT8 export, each with one job: to calibrate, to choose the rung, or to give the final figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.quantize.accuracy_gate import EvaluationSet
from edgeclf_export.quantize.calibration import (
    CALIBRATION_IMAGES,
    FEW_IMAGES,
    CalibrationImages,
    load_calibration,
    load_pixels,
    part,
    without,
)
from edgeclf_export.quantize.few_images import SELECTED, More, about, what_can_be_shown
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, class_numbers, read_folder
from edgeclf_runtime.metrics.temperature import fit_temperature
from edgeclf_runtime.progress import Progress

NO_IMAGES = (
    "int8 needs real images to calibrate and to judge on: give --calib-data DIR (best with a folder for each label), "
    "or export a run, which knows its own"
)


@dataclass(frozen=True, slots=True)
class Int8Options:
    """What is asked of an INT8 model.

    Attributes
    ----------
    calib_data
        Folder to calibrate on; None: the training images of the run.
    calib_images
        How many; None: 300, fewer where labels are too few and some are wanted to compare predictions on.
    floor
        The most that top-1 may fall.
    fallback
        Take 16 bits where no int8 rung holds, instead of failing.
    """

    calib_data: Path | None = None
    calib_images: int | None = None
    floor: AccuracyGate = AccuracyGate()
    fallback: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Jobs:
    """Images to calibrate on, to judge and to test with; `called` is where the first come from."""

    calibrate: Sequence[LabelledImage]
    judge: Sequence[LabelledImage]
    test: Sequence[LabelledImage]
    called: str


@dataclass(frozen=True)
class CalibrationData:
    """What calibrates, what chooses (`evaluation_set` and its `pixels`), and how to look at the test images, once."""

    calibration: CalibrationImages
    evaluation_set: EvaluationSet
    pixels: NDArray[np.uint8]
    open_test: Callable[[str], tuple[EvaluationSet, NDArray[np.uint8]]] | None


def load_calibration_data(
    exportable: Exportable,
    options: Int8Options,
    progress: Progress,
) -> CalibrationData:
    """The images by their jobs; no image has two. a note says what the images that judge can show.

    Raises
    ------
    UsageError
        There is neither a run nor --calib-data to take images from.
    DataError
        No image is left to calibrate or to judge on; an image can't be read.
    """
    if exportable.scores != "softmax":
        raise UsageError("int8 has a floor of top-1, and a network of sigmoid scores has no top-1; export fp16")
    data, jobs = exportable.data, share_out(exportable, options)
    judges = {image.sha256 for image in (*jobs.judge, *jobs.test)}
    more = More.needed(jobs.judge, options.floor)
    free = len(without(jobs.calibrate, judges))
    progress.step("reading the calibration images")
    calibration = load_calibration(
        jobs.calibrate,
        judges,
        exportable.pixels,
        called=jobs.called,
        most=options.calib_images or more.spared(free, CALIBRATION_IMAGES),
        seed=options.seed,
    )
    pool = (*jobs.calibrate, *(data.split.of("train") if data is not None else ()))
    others = more.of(without(pool, judges | calibration.hashes))
    source = f"validation images of {data.called}" if data is not None else f"half of {jobs.called}"
    progress.note(what_can_be_shown(jobs.judge, others, source, options.floor))
    judging = [*jobs.judge, *others]
    progress.step(f"running the reference on {len(judging)} images that judge")
    pixels = load_pixels(judging, exportable.pixels, "the images that judge")
    temperature = exportable.training.temperature if exportable.training else None
    logits = exportable.answer(pixels)
    evaluation_set = _evaluation_set(
        jobs.judge, exportable.labels, logits[: len(jobs.judge)], f"{source}, {SELECTED}", temperature
    )
    if others:
        learnt = {image.sha256 for image in data.split.of("train")} if data is not None else set()
        evaluation_set = EvaluationSet(
            logits, None, evaluation_set.temperature, _groups(judging), about(jobs.judge, others, source, learnt)
        )
    if not jobs.test or data is None:
        return CalibrationData(calibration, evaluation_set, pixels, None)
    count_use = data.count_use

    def open_test(digest: str) -> tuple[EvaluationSet, NDArray[np.uint8]]:
        told = count_use(digest)
        shown = load_pixels(jobs.test, exportable.pixels, "the test images")
        return _evaluation_set(
            jobs.test, exportable.labels, exportable.answer(shown), told, evaluation_set.temperature
        ), shown

    return CalibrationData(calibration, evaluation_set, pixels, open_test)


def share_out(exportable: Exportable, options: Int8Options) -> Jobs:
    """Images by their jobs: a run's by its splits, a folder's in two halves.

    Raises
    ------
    UsageError
        There is neither a run nor --calib-data to take images from.
    DataError
        No image is left to judge on.
    """
    data, folder = exportable.data, options.calib_data
    if data is not None:
        train, val, test = map(data.split.of, SPLITS)
        if not val:
            raise DataError(f"{data.called} has no validation images, which choose the int8 rung; split it with some")
        if folder is None:
            return Jobs(train, val, test, f"training images of {data.called}")
        return Jobs(read_folder(folder, exportable.labels), val, test, folder.resolve().name)
    if folder is None:
        raise UsageError(NO_IMAGES)
    found = read_folder(folder, exportable.labels)
    calibrating, judging = part(found, options.seed)
    if not judging:
        told = f"{len(found)} images, too few" if found else "no images"
        raise DataError(f"{folder}: {told} to calibrate on some and to judge on others; {FEW_IMAGES} for each would do")
    return Jobs(calibrating, judging, (), folder.resolve().name)


def _evaluation_set(
    images: Sequence[LabelledImage],
    classes: Sequence[str],
    reference: NDArray[np.float32],
    source: str,
    temperature: float | None,
) -> EvaluationSet:
    known = all(image.labels is not None for image in images)
    labels = class_numbers(images, classes) if known else None
    if temperature is None:
        temperature = 1.0 if labels is None else fit_temperature(reference, labels).temperature
    return EvaluationSet(reference, labels, temperature, _groups(images), source)


def _groups(images: Sequence[LabelledImage]) -> list[str | None] | None:
    groups = [image.group for image in images]
    return groups if any(groups) else None
