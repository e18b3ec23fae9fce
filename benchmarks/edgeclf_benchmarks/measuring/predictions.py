"""Every row's predictions for the same labelled images; only images that can be read count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.contenders import Contender
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import DataError, ImageChanged, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.predict import predict_images, prepare_images, strictly
from edgeclf_runtime.text.unicode_forms import shown_names

Origin = Literal["whole", "given", "own", "drawn"]
_BATCH = 8


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images that all rows predict, and what the report records of them.

    Attributes
    ----------
    data
        The whole split that they are taken from.
    split
        The name of the part of it that is evaluated, or "all".
    left_out
        Images of that part that were not drawn, to keep within the time.
    record_use
        Records that a bundle is evaluated on these test images, and returns which use of them it is, counted from 1.
        None: no test images.
    origin
        Where the splits come from: "whole" (there were none, and all images are evaluated), "given", "own" (a bundle
        was trained with them), "drawn" (by chance, here).
    present
        Images of all classes of the data need not be there (--classes present).
    """

    data: DataSplit
    split: str
    images: tuple[LabelledImage, ...]
    left_out: int = 0
    record_use: Callable[[Bundle], int] | None = None
    origin: Origin | None = None
    present: bool = False

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def digest(self) -> str:
        return self.data.digest

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes


def check_classes(bundle: Bundle, data: LabelledImages) -> None:
    """Raises DataError unless the bundle knows exactly the classes of the data; their order may differ.

    Raises UsageError where it predicts one label an image and the images have several, or the other way round.
    """
    if bundle.manifest.multi_label != data.data.multi_label:
        kinds = ("one label", "several labels")
        raise UsageError(
            f"{bundle.name} predicts {kinds[bundle.manifest.multi_label]} an image, and the images of {data.name} have "
            f"{kinds[data.data.multi_label]}; bench it on data of its own kind"
        )
    labels, classes = set(bundle.manifest.labels), set(data.classes)
    if labels == classes:
        return
    advice = "give --data that it was trained for, or bench it without"
    if classes < labels:
        advice = "--classes present evaluates on the classes that the data has"
    here = ", ".join(shown_names(sorted(labels - classes)[:3], beside=classes - labels)) or "none"
    there = ", ".join(shown_names(sorted(classes - labels)[:3], beside=labels - classes)) or "none"
    raise DataError(
        f"{bundle.name} has {len(labels)} classes and {data.name} {len(classes)}, not the same (only in the bundle: "
        f"{here}; only in the data: {there}); {advice}"
    )


def selected_on(manifest: Manifest, data_sha256: str) -> bool:
    """Whether the validation images of a split selected what this bundle is: best epoch, temperature, precision.

    The classical baseline selects nothing on them but its thresholds, where it has some.
    """
    if manifest.provenance.data_sha256 != data_sha256:
        return False
    return manifest.target != "hog-svm" or manifest.thresholds.given


def readable(
    images: Sequence[LabelledImage], on_done: Callable[[int], None]
) -> tuple[tuple[LabelledImage, ...], dict[str, str]]:
    """The images that can be decoded, and why the others can't; `on_done` gets how many were checked.

    Raises DataError for one that is missing or changed: reports that name the same data compare the same images.
    """
    faults: dict[str, str] = {}
    kept = []
    for number, (image, error) in enumerate(prepare_images(images, LabelledImage.check), 1):
        if isinstance(error, ImageChanged):
            raise DataError(f"{image.path}: {error}") from error
        if error is None:
            kept.append(image)
        else:
            faults[image.name] = str(error)
        on_done(number)
    if not kept:
        raise DataError(f"none of the {len(images)} images could be read, the first: {next(iter(faults.items()))}")
    return tuple(kept), faults


def predict(
    contender: Contender, images: Sequence[LabelledImage], options: SessionOptions, on_done: Callable[[int], None]
) -> NDArray[np.float32]:
    """(N, classes) outputs in the contender's own order of classes; `on_done` gets how many are done."""
    opened = contender.open(options)
    try:
        rows = predict_images(
            images,
            lambda image: opened.prepare([image.read()]),
            lambda inputs: opened.infer(inputs[0] if len(inputs) == 1 else np.concatenate(inputs)),
            batch_size=min(_BATCH, contender.largest_batch or _BATCH),
        )
        outputs = []
        for number, (_, row) in enumerate(strictly(rows), 1):
            outputs.append(row)
            on_done(number)
        return np.stack(outputs).astype(np.float32)
    finally:
        opened.close()


def in_order_of(classes: Sequence[str], outputs: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Outputs whose columns are the classes of the data."""
    places = {label: number for number, label in enumerate(manifest.labels)}
    return outputs[:, [places[label] for label in classes]]
