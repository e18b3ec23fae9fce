"""A model's predictions for the images of a split: which images, and the logits that come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.sources import some
from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.test_set_usage import TestUse, carried_uses, record_test_use
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.features import read_class_means
from edgeclf_runtime.bundle.manifest import Manifest, to_input
from edgeclf_runtime.errors import BundleError, DataError, ImageError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import predict_images
from edgeclf_runtime.progress import SILENT, Progress
from edgeclf_runtime.session import open_session
from edgeclf_runtime.text.unicode_forms import shown_names

SPLIT_CHOICES = (*SPLITS, "all")


@dataclass(frozen=True, slots=True)
class Predictions:
    """Logits (N, C) in the order of the model's classes for the images that could be read, and those images.

    `seconds` of wall time, decoding included; `engine` and `compute_precision` as the session reports them.
    `similarities` (N,): of features with the nearest class mean; None: the model gives no features.
    """

    logits: NDArray[np.float32]
    images: tuple[LabelledImage, ...]
    unreadable: tuple[Unreadable, ...] = ()
    seconds: float = 0.0
    compute_precision: str = "fp32"
    engine: tuple[tuple[str, str], ...] = ()
    similarities: NDArray[np.float64] | None = None


def check_split(split: str) -> None:
    """Raises UsageError for a split that there is none of."""
    if split not in SPLIT_CHOICES:
        raise UsageError(f"no split {split!r}; choose one of {', '.join(SPLIT_CHOICES)}")


def images_of(data: DataSplit, split: str) -> tuple[LabelledImage, ...]:
    """The images of a split, or of "all". Raises UsageError for an unknown or empty one."""
    check_split(split)
    images = data.images if split == "all" else tuple(image for image in data.images if image.split == split)
    if not images:
        there = ", ".join(f"{name} {len(data.of(name))}" for name in SPLITS if data.of(name))
        raise UsageError(f"{data.root} has no {split} images (it has {there}); choose another --split")
    return images


def match_labels(wanted: Sequence[str], found: Sequence[str], bundle: str, data: Path) -> None:
    """Raises DataError, showing the difference, unless both have the same names; their order may differ."""
    if set(wanted) == set(found):
        return
    if not wanted:
        raise DataError(f"{bundle} is an encoder and has no classes to evaluate; `edgeclf zeroshot` makes a classifier")
    only_bundle = shown_names([label for label in wanted if label not in set(found)], beside=found)
    only_data = shown_names([label for label in found if label not in set(wanted)], beside=wanted)
    sides = [f"only in the bundle {bundle}: {some(only_bundle)}"] if only_bundle else []
    sides += [f"only in the data {data}: {some(only_data)}"] if only_data else []
    advice = "Rename the folders, or evaluate on the data that it was trained for"
    if not only_data:
        advice = "--classes present evaluates on the classes that the data has"
    raise DataError(
        f"{len(wanted)} classes in the bundle, {len(found)} in the data, and not the same; {'; '.join(sides)}. {advice}"
    )


def count_test_images(
    folder: Path,
    images: Sequence[LabelledImage],
    *,
    subject: str,
    data_sha256: str,
    verb: str,
    manifest: Manifest | None = None,
) -> TestUse | None:
    """Records in `folder` that the test images among `images` are used; None where there are none.

    `manifest`: of the bundle, which brings earlier uses along.
    """
    tests = sum(image.split == "test" for image in images)
    if not tests:
        return None
    known = () if manifest is None else carried_uses(manifest, data_sha256)
    return record_test_use(folder, subject=subject, data_sha256=data_sha256, images=tests, verb=verb, known=known)


def predict_with_bundle(
    bundle: Bundle,
    images: Sequence[LabelledImage],
    *,
    options: SessionOptions = SessionOptions(),
    batch_size: int = 16,
    observe: Callable[[NDArray[np.uint8]], object] | None = None,
    progress: Progress = SILENT,
) -> Predictions:
    """The bundle's logits for the images. Raises BundleError for one that is no classifier.

    `observe` gets the (N, H, W, 3) pixels of each batch, in order.
    """
    manifest = bundle.manifest
    if manifest.task != "classify" or manifest.pixels is None:
        raise BundleError(f"{bundle.path}: its task is {manifest.task}; only classifiers are evaluated")
    with open_session(bundle, options) as session:
        classes, means = len(manifest.labels), read_class_means(bundle) if manifest.features is not None else None

        def infer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            if observe is not None:
                observe(batch)
            inputs = to_input(batch, manifest.normalization)
            if means is None:
                return session(inputs)
            logits, features = session.with_features(inputs)
            return np.column_stack([logits, means.similarities(features)])  # in one run, a column more

        columns = classes + (means is not None)
        found = predict(infer, manifest.pixels, columns, images, batch_size=batch_size, progress=progress)
        return replace(
            found,
            logits=np.ascontiguousarray(found.logits[:, :classes]),
            similarities=None if means is None else found.logits[:, classes].astype(np.float64),
            compute_precision=session.compute_precision,
            engine=tuple(session.facts.items()),
        )


def predict(
    infer: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pixels: Pixels,
    classes: int,
    images: Sequence[LabelledImage],
    *,
    batch_size: int = 16,
    progress: Progress = SILENT,
) -> Predictions:
    """What `infer`, (N, H, W, 3) uint8 -> (N, classes) logits, gives for the images; unreadable ones are listed."""
    start = time.perf_counter()
    rows = predict_images(
        images, lambda image: image.load(pixels), lambda batch: infer(np.stack(batch)), batch_size=batch_size
    )
    logits = np.empty((len(images), classes), dtype=np.float32)
    read: list[LabelledImage] = []
    unreadable: list[Unreadable] = []
    for image, found in progress.track(rows, len(images), "evaluate"):
        if isinstance(found, ImageError):
            unreadable.append(Unreadable(image.name, str(found)))
        else:
            logits[len(read)] = found
            read.append(image)
    return Predictions(logits[: len(read)], tuple(read), tuple(unreadable), time.perf_counter() - start)
