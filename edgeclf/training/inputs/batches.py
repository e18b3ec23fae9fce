"""Images of a split as batches: decoded and augmented in worker processes for training, through Pixels otherwise."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.augment import Augmenter
from edgeclf.training.seeds import seed_of
from edgeclf_runtime.backends.forked import guard_forks
from edgeclf_runtime.errors import BackendError, DataError, ImageError, one_line
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage, Split, class_numbers, label_targets
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.threads import in_threads

if TYPE_CHECKING:
    import torch
    from PIL import Image

# Forked, a worker starts at once and shares the kept images. Spawned, it imports torch anew (3.4 s of a core, 224 MB)
# and has a copy of them; but Windows has no fork, and on macOS it is not safe beside the system's own threads.
START = "fork" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True)
class TrainingImages:
    """The images of one split, with the number of each one's class.

    Where images may have several labels, `labels` holds targets in place of numbers: (N, classes) of 0 and 1, float32.
    """

    images: tuple[LabelledImage, ...]
    labels: NDArray[Any]

    @classmethod
    def of(cls, data: DataSplit, split: Split) -> TrainingImages:
        """Raises DataError where the split is empty."""
        images = data.of(split)
        if not images:
            raise DataError(f"no {split} images in {data.root}; split the data with `edgeclf data split`")
        return cls(images, (label_targets if data.multi_label else class_numbers)(images, data.classes))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def multi_label(self) -> bool:
        return self.labels.ndim == 2

    def part(self, share: slice) -> TrainingImages:
        return TrainingImages(self.images[share], self.labels[share])

    def order(self, seed: int, weighted: bool) -> NDArray[np.int64]:
        """Indices in a random order; weighted: drawn with replacement so that every class is as frequent.

        Of several labels the rarest one counts, and having none counts as a label.
        """
        random = np.random.default_rng(seed)
        if not weighted:
            return random.permutation(len(self))
        weights = self._rarest_shares() if self.multi_label else 1.0 / np.bincount(self.labels)[self.labels]
        return random.choice(len(self), len(self), p=weights / weights.sum())

    def _rarest_shares(self) -> NDArray[np.float64]:
        """(N,) one over the images with an image's rarest label."""
        held = np.column_stack([self.labels, ~self.labels.any(axis=1)])
        return np.asarray((held / np.maximum(held.sum(axis=0), 1)).max(axis=1), dtype=np.float64)

    def load(self, index: int, pixels: Pixels) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 as the device sees it. Raises DataError that names the file."""
        image = self.images[index]
        try:
            return image.load(pixels)
        except ImageError as error:
            raise DataError(f"{image.path}: {error}; `edgeclf data check` lists all such files") from error


def plain_batches(images: TrainingImages, pixels: Pixels, batch_size: int) -> Iterator[NDArray[np.uint8]]:
    """(N, H, W, 3) uint8 in order, without augmentation; threads decode the next batches while the caller computes."""
    loaded = in_threads(lambda index: images.load(index, pixels), range(len(images)))
    while batch := list(islice(loaded, batch_size)):
        yield np.stack(batch)


class Augmented:
    """What a DataLoader's workers index: (epoch, index) -> image and index.

    `kept` holds images that are prepared already, by index.
    """

    def __init__(self, images: TrainingImages, pixels: Pixels, augmenter: Augmenter) -> None:
        self._images, self._pixels, self._augmenter = images, pixels, augmenter
        self.kept: dict[int, NDArray[np.uint8]] = {}

    def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray[np.uint8], int]:
        epoch, index = key
        prepared = self.kept[index] if index in self.kept else self._prepare(index)
        return self._augmenter.finish(prepared, epoch, index), index

    def load(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 of the image before anything random happens to it, to be kept."""
        return np.asarray(self._prepare(index))

    def _prepare(self, index: int) -> Image.Image | NDArray[np.uint8]:
        image, rules = self._images.images[index], self._pixels
        try:
            data = image.read()
            with BUDGET.share() as reserve:
                shown = decode(data, background=rules.background, value_range=rules.value_range, reserve=reserve)
                return self._augmenter.prepare(shown.image)
        except ImageError as error:
            raise DataError(f"{image.path}: {error}; `edgeclf data check` lists all such files") from None


class _EpochOrder:
    """What a DataLoader takes its batches from, (epoch, index) for each image: in another order every epoch.

    All processes draw the same batches, and each takes its share of them.
    """

    def __init__(
        self, images: TrainingImages, batch_size: int, seed: int, weighted: bool, least: int, processes: Processes
    ) -> None:
        self._images, self._batch_size, self._seed, self._weighted = images, batch_size, seed, weighted
        self._least, self._processes = least, processes
        self.epoch = 0

    def __len__(self) -> int:
        """Batches an epoch; a last one of fewer than `least` images is left out."""
        whole, rest = divmod(len(self._images), self._batch_size)
        return max(1, whole + (rest >= self._least))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._images.order(seed_of(self._seed, "order", self.epoch), self._weighted)
        for number in range(len(self)):
            chosen = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield [(self.epoch, int(index)) for index in chosen[self._processes.share(len(chosen))]]


class TrainingBatches:
    """This process's share of shuffled, augmented batches of the training split; the order follows from (seed, epoch).

    A last batch of fewer than `least` images is left out: BatchNorm can't learn from a single one. The worker
    processes live as long as this object: starting them anew each epoch costs more than a small epoch.
    """

    def __init__(
        self,
        images: TrainingImages,
        pixels: Pixels,
        augmenter: Augmenter,
        *,
        batch_size: int,
        seed: int,
        weighted: bool,
        workers: int,
        least: int = 2,
        processes: Processes = Processes(),
        pin: bool = False,
    ) -> None:
        import torch
        from torch.utils.data import DataLoader

        guard_forks()
        self._order = _EpochOrder(images, batch_size, seed, weighted, least, processes)
        self.augmented = Augmented(images, pixels, augmenter)
        self.copies = 1 if START == "fork" else 1 + workers  # of the images that it keeps
        self._loader: Any = DataLoader(
            self.augmented,  # type: ignore[arg-type]
            batch_sampler=self._order,
            num_workers=workers,
            multiprocessing_context=START if workers else None,
            persistent_workers=workers > 0,
            collate_fn=_stack,
            worker_init_fn=_begin_worker,
            pin_memory=pin,
            generator=torch.Generator().manual_seed(seed),  # or it draws from the one that dropout draws from
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._order)

    def epoch(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """((N, H, W, 3) uint8, (N,) int64 numbers of the images); N may be 0 in a last batch.

        Raises DataError for a bad file.
        """
        self._order.epoch = epoch
        batches = iter(self._loader)
        while True:
            try:
                batch = next(batches, None)
            except DataError as error:  # a worker's error comes with the worker's traceback in its text
                raise DataError(one_line(error, length=None)) from error
            if batch is None:
                return
            yield batch


@contextmanager
def dead_workers_named() -> Iterator[None]:
    """Turns torch's error for a dead data worker, which comes up wherever the main thread is, into BackendError."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise BackendError(f"a data worker died ({one_line(error)}); try --workers 0") from error


def _begin_worker(worker: int) -> None:
    """In a data worker: SIGTERM ends it as if it had finished, and a batch that nobody takes is no error.

    `timeout`, systemd and others send it to all processes of a training. A worker that dies of it is an error to torch,
    which comes up in the main process wherever that is winding down for the same signal.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    sys.excepthook = _silent_where_nobody_waits


def _silent_where_nobody_waits(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In a data worker, what its thread that hands batches over raises where Ctrl-C has ended the other side."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _stack(samples: list[tuple[NDArray[np.uint8], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    if not samples:  # the last batch has fewer images than there are processes
        return torch.zeros((0, 1, 1, 3), dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)
    images, numbers = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(numbers, dtype=torch.int64)
