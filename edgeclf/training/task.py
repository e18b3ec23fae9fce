"""The task of a training: one label an image, or several; and which options go with it."""

from __future__ import annotations

from edgeclf.data.sources import some
from edgeclf.training.config import TrainConfig
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import all_labels
from edgeclf_runtime.progress import Progress

_SMOOTHING = 0.1
_SELECTING = {"map": "val_map", "macro-f1": "val_macro_f1", "top-1": "val_top1"}


def smoothing(config: TrainConfig, *, multi_label: bool) -> float:
    """The label smoothing for images of one label each, or of several."""
    if config.label_smoothing is not None:
        return config.label_smoothing
    return 0.0 if multi_label else _SMOOTHING


def selecting_figure(config: TrainConfig, *, multi_label: bool) -> str:
    """The figure of an epoch's record that the best one is chosen by."""
    usual = "map" if multi_label else "macro-f1"
    return _SELECTING[usual if config.select == "auto" else config.select]


def check_task(config: TrainConfig, data: DataSplit, progress: Progress) -> None:
    """Warns of labels that nothing validates.

    Raises UsageError for options that don't go with the data's task, DataError where nothing validates any label.
    """
    if not data.multi_label:
        for option, value in (("--loss", "asymmetric"), ("--select-metric", "map")):
            if value in (config.loss, config.select):
                raise UsageError(f"{option} {value} is for several labels an image, and these have one; leave it out")
        return
    _check_several(config)
    validated = set(all_labels(data.of("val")))
    if data.of("val") and not validated:
        raise DataError(
            "no validation image has any label, so nothing can choose the best epoch or a threshold; split the data "
            "again with more images"
        )
    if lacking := [label for label in data.classes if label not in validated]:
        progress.warn(
            f"no validation image has {some(map(repr, lacking))}: such labels count for nothing in the choice of the "
            "best epoch, and their thresholds stay at 0.5"
        )


def _check_several(config: TrainConfig) -> None:
    if config.loss == "focal":
        raise UsageError("--loss focal is for one label an image, and these have several; asymmetric is its like here")
    if config.select == "top-1":
        raise UsageError("--select-metric top-1 is for one label an image, and these have several; choose map")
    if config.loss != "asymmetric":
        return
    for option, given in (("--label-smoothing", config.label_smoothing), ("--class-weights", config.class_weights)):
        if given not in (None, 0.0, "none"):
            raise UsageError(
                f"{option} {given} beside --loss asymmetric, which weighs labels by how sure the network is already; "
                "leave one of them out"
            )
