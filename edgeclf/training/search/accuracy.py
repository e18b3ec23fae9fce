"""How accurate a run is on the validation images, and how far it is behind another: by top-1, or mAP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.run.evaluate import predict_with_run
from edgeclf.training.run.run import Run
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import class_numbers, label_targets
from edgeclf_runtime.metrics.average_precision import mean_average_precision, weighted_mean_average_precision
from edgeclf_runtime.metrics.intervals import Interval, Resampling, accuracy_interval, number_groups
from edgeclf_runtime.metrics.paired import change_interval
from edgeclf_runtime.metrics.paired_labels import map_change
from edgeclf_runtime.progress import SILENT


def accuracy_of(run: Run, data: DataSplit) -> tuple[float, Interval | None]:
    """A share 0..1 of the validation images, and its 95 % interval: top-1, of several labels an image mAP.

    Raises DataError where one of the images can't be read any more.
    """
    logits, classes = _logits(run, data)
    resampling = Resampling(len(logits), _groups(data))
    if not data.multi_label:
        right = _right(logits, data, classes)
        return float(right.mean()), accuracy_interval(right, resampling)
    targets = _targets(data, classes)
    value = mean_average_precision(logits, targets) or 0.0
    return value, resampling.interval_around(
        value, lambda weights: weighted_mean_average_precision(weights, logits, targets)
    )


def behind(run: Run, best: Run, data: DataSplit) -> tuple[float, Interval | None]:
    """By how many points `run` is more accurate than `best` (0 or less), and the 95 % interval, paired by image."""
    (mine, classes), (other, _) = (_logits(each, data) for each in (run, best))
    if data.multi_label:
        change = map_change(mine, other, _targets(data, classes), Resampling(len(mine), _groups(data)))
        return 100 * change.change, change.interval
    right, wanted = (_right(each, data, classes) for each in (mine, other))
    return 100 * float(right.mean() - wanted.mean()), change_interval(wanted, right, _groups(data))


def _logits(run: Run, data: DataSplit) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(N, classes) logits for the validation images, and the classes in the order of the model."""
    exportable, images = run.exportable(), data.of("val")
    found = predict_with_run(exportable, images, 16, SILENT)
    if found.unreadable:
        raise DataError(f"{data.root}/{found.unreadable[0].path} can't be read any more; start a new search")
    return found.logits.astype(np.float64), exportable.labels


def _groups(data: DataSplit) -> NDArray[np.intp] | None:
    return number_groups([image.group for image in data.of("val")])


def _right(logits: NDArray[np.float64], data: DataSplit, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.asarray(logits.argmax(axis=1) == class_numbers(data.of("val"), classes))


def _targets(data: DataSplit, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.asarray(label_targets(data.of("val"), classes) > 0)
