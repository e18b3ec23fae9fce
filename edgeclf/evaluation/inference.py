"""A bundle asked about labelled images: which of them, their pixels, and the logits that come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.samples import SPLITS
from edgeclf.data.sources import some
from edgeclf.data.split import Item, SplitManifest, verify_item
from edgeclf.data.threads import in_threads
from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.test_set_usage import TestUse, carried_uses, record_test_use
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, to_input
from edgeclf_runtime.errors import BundleError, DataError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.progress import SILENT, Progress
from edgeclf_runtime.session import open_session
from edgeclf_runtime.text.unicode_forms import shown_names

SPLIT_CHOICES = (*SPLITS, "all")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answers:
    """Logits (N, C) in the order of the model's classes for the images that could be read, and those images.

    `seconds` of wall time, decoding included; `engine` and `compute_precision` as the session gave them.
    """

    logits: NDArray[np.float32]
    items: tuple[Item, ...]
    unreadable: tuple[Unreadable, ...] = ()
    seconds: float = 0.0
    compute_precision: str = "fp32"
    engine: tuple[tuple[str, str], ...] = ()

    def numbers(self, classes: Sequence[str]) -> NDArray[np.intp]:
        """(N,) the right class of each image as a number into `classes`."""
        places = {label: number for number, label in enumerate(classes)}
        return np.array([places[item.label] for item in self.items], dtype=np.intp)


def check_split(split: str) -> None:
    """Raises UsageError for a split that there is none of."""
    if split not in SPLIT_CHOICES:
        raise UsageError(f"no split {split!r}; choose one of {', '.join(SPLIT_CHOICES)}")


def items_of(data: SplitManifest, split: str) -> tuple[Item, ...]:
    """The images of a split, or of "all". Raises UsageError for an unknown or empty one."""
    check_split(split)
    items = data.items if split == "all" else tuple(item for item in data.items if item.split == split)
    if not items:
        there = ", ".join(f"{name} {len(data.of(name))}" for name in SPLITS if data.of(name))
        raise UsageError(f"{data.root} has no {split} images (it has {there}); choose another --split")
    return items


def match_labels(wanted: Sequence[str], found: Sequence[str], bundle: str, data: str) -> None:
    """Raises DataError, showing the difference, unless both have the same names; their order may differ."""
    if set(wanted) == set(found):
        return
    if not wanted:
        raise DataError(f"{bundle} is an encoder and has no classes to judge; `edgeclf zeroshot` makes a classifier")
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
    items: Sequence[Item],
    *,
    subject: str,
    data_sha256: str,
    verb: str,
    manifest: Manifest | None = None,
) -> TestUse | None:
    """Records in `folder` that the test images among `items` are used; None where there are none.

    `manifest`: of the bundle, which brings earlier uses along.
    """
    images = sum(item.split == "test" for item in items)
    if not images:
        return None
    known = () if manifest is None else carried_uses(manifest, data_sha256)
    return record_test_use(folder, subject=subject, data_sha256=data_sha256, images=images, verb=verb, known=known)


def ask_bundle(
    bundle: Bundle,
    data: SplitManifest,
    items: Sequence[Item],
    *,
    options: SessionOptions = SessionOptions(),
    batch_size: int = 16,
    progress: Progress = SILENT,
) -> Answers:
    """The bundle's answers to the images. Raises BundleError for one that is no classifier."""
    manifest = bundle.manifest
    if manifest.task != "classify" or manifest.pixels is None:
        raise BundleError(f"{bundle.path}: its task is {manifest.task}; only classifiers are evaluated")
    with open_session(bundle, options) as session:

        def answer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return session(to_input(pixels, manifest.normalization))

        classes = len(manifest.labels)
        answers = ask(answer, manifest.pixels, classes, data, items, batch_size=batch_size, progress=progress)
        return replace(answers, compute_precision=session.compute_precision, engine=tuple(session.facts.items()))


def ask(
    answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pixels: Pixels,
    classes: int,
    data: SplitManifest,
    items: Sequence[Item],
    *,
    batch_size: int = 16,
    progress: Progress = SILENT,
) -> Answers:
    """What `answer`, (N, H, W, 3) uint8 -> (N, classes) logits, says to the images; those it can't read are listed."""
    logits: list[NDArray[np.float32]] = []
    read: list[Item] = []
    unreadable: list[Unreadable] = []
    start = time.perf_counter()
    loaded = progress.track(load_each(pixels, data, items), len(items), "evaluate")
    for group in _batches(zip(items, loaded, strict=True), batch_size):
        unreadable += [Unreadable(item.path, found) for item, found in group if isinstance(found, str)]
        good = [(item, found) for item, found in group if not isinstance(found, str)]
        if good:
            logits.append(answer(np.stack([image for _, image in good])))
            read += [item for item, _ in good]
    stacked = np.concatenate(logits) if logits else np.empty((0, classes), dtype=np.float32)
    return Answers(stacked, tuple(read), tuple(unreadable), time.perf_counter() - start)


def load_each(pixels: Pixels, data: SplitManifest, items: Sequence[Item]) -> Iterator[NDArray[np.uint8] | str]:
    """In order, by threads: the (H, W, 3) uint8 pixels of each image, or the reason why it can't be read."""

    def load(item: Item) -> NDArray[np.uint8] | str:
        try:
            return pixels.load(verify_item(data, item))[0]
        except DataError as error:  # no image, or not the one that the split was made with
            return str(error)

    return in_threads(load, items)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
