"""Images on their way through an engine: decoded ahead in threads, predicted in order, a bad one alone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import ImageError, UsageError
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.pixels import PixelMode, Pixels
from edgeclf_runtime.images.sources import ImageSource, is_source, not_a_source
from edgeclf_runtime.images.threads import in_each_thread
from edgeclf_runtime.session import Session

_GROUPS_AHEAD = 2  # for each worker: none waits for the caller, and memory stays flat

T = TypeVar("T")
Infer = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


class Loaded(NamedTuple):
    """An image on its way: its pixels, or its error. `name` is what `source_name` gives."""

    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None = None
    notes: tuple[str, ...] = ()


class _Group(NamedTuple):
    """(name, source) of images that go to the engine together, and what the sources raised behind them, if anything."""

    images: list[tuple[str, ImageSource]]
    fault: Exception | None = None


class _Inferred(NamedTuple):
    """Images that went to the engine together, and the rows of those that could be read, in order."""

    images: list[Loaded]
    rows: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _Work:
    """A group of images that workers were given; `finish` waits for them and gives the outputs."""

    futures: tuple[Future[Any], ...]
    finish: Callable[[], _Inferred]
    fault: Exception | None

    def rows(self) -> Iterator[tuple[Loaded, NDArray[np.floating] | None]]:
        yield from _rows(self.finish())
        if self.fault is not None:
            raise self.fault


class ImagePipeline:
    """Serves several threads; each call of `run` keeps its own order.

    Of a session with one stream, workers decode ahead while the engine, with all its threads, infers in the caller's.
    Of one with more streams each worker decodes and infers, so that no thread waits for another.
    """

    def __init__(self, pixels: Pixels, session: Session, limits: Limits, mode: PixelMode) -> None:
        self._pixels = pixels
        self._session = session
        self._limits = limits
        self._mode: PixelMode = mode
        decoders = min(usable_cores(), session.threads)
        self._worker_count = decoders if session.streams == 1 else session.streams
        self._workers = ThreadPoolExecutor(self._worker_count, thread_name_prefix="edgeclf-worker")
        self._closed = False

    def run(
        self, images: ImageSource | Iterable[ImageSource], infer: Infer, *, channels: str, batch_size: int
    ) -> Iterator[tuple[Loaded, NDArray[np.floating] | None]]:
        """Each image in order with its row of what `infer` gives for (N, H, W, 3) uint8; None: it can't be read.

        Raises UsageError at once where nothing can be run, and later where the pipeline is closed meanwhile. What
        `images` itself raises comes after the predictions for those before.
        """
        if channels not in ("rgb", "bgr"):
            raise UsageError(f"no channel order {channels!r}; choose one of rgb, bgr")
        if batch_size < 1:
            raise UsageError(f"batch size must be at least 1, found {batch_size}")
        self._session.check_usable()
        if isinstance(images, np.ndarray):
            return self._run_alone(images, infer, channels)
        return self._run(_grouped(image_sources(images), batch_size), infer, channels)

    def _run_alone(
        self, image: ImageSource, infer: Infer, channels: str
    ) -> Iterator[tuple[Loaded, NDArray[np.floating] | None]]:
        """One image: nothing to overlap, and to wake a worker would only take time."""
        self._session.check_usable()
        loaded = self._load(source_name(image, 0), image, channels)
        yield loaded, None if loaded.pixels is None else infer(loaded.pixels[np.newaxis])[0]

    def _run(
        self, groups: Iterator[_Group], infer: Infer, channels: str
    ) -> Iterator[tuple[Loaded, NDArray[np.floating] | None]]:
        first = list(islice(groups, 2))
        if [len(group.images) for group in first] == [1] and first[0].fault is None:
            yield from self._run_alone(first[0].images[0][1], infer, channels)
            return
        groups = chain(first, groups)
        ahead = _GROUPS_AHEAD * self._worker_count if self._session.streams > 1 else 1 + _GROUPS_AHEAD
        waiting: deque[_Work] = deque()
        try:
            while True:
                self._session.check_usable()  # after a fork the workers are gone, and waiting would not end
                waiting.extend(self._begin(group, infer, channels) for group in islice(groups, ahead - len(waiting)))
                if not waiting:
                    return
                yield from waiting.popleft().rows()
        except (CancelledError, RuntimeError):  # of a pool that was shut down
            if self._closed:
                raise UsageError("it was closed meanwhile; open the bundle again") from None
            raise
        finally:
            for work in waiting:
                for future in work.futures:
                    future.cancel()

    def _begin(self, group: _Group, infer: Infer, channels: str) -> _Work:
        images, fault = group
        if self._session.streams == 1:
            loading = tuple(self._workers.submit(self._load, name, source, channels) for name, source in images)
            return _Work(loading, lambda: _infer([future.result() for future in loading], infer), fault)
        whole = self._workers.submit(lambda: _infer([self._load(*each, channels) for each in images], infer))
        return _Work((whole,), whole.result, fault)

    def _load(self, name: str, source: ImageSource, channels: str) -> Loaded:
        try:
            with BUDGET.share() as reserve:
                pixels, notes = self._pixels.load(
                    source, channels=channels, limits=self._limits, mode=self._mode, reserve=reserve
                )
        except ImageError as error:
            return Loaded(name, None, str(error))
        return Loaded(name, pixels, notes=notes)

    def in_each_worker(self, work: Callable[[], T]) -> list[T]:
        """What `work()` returns in each thread that infers, none of which begins before all are there."""
        if self._session.streams == 1:
            return [work()]
        return in_each_thread(self._workers, self._worker_count, work)

    def close(self) -> None:
        """Ends the workers; what another thread's `run` still waits for ends with a UsageError."""
        self._closed = True
        self._workers.shutdown(cancel_futures=True)


def _infer(images: list[Loaded], infer: Infer) -> _Inferred:
    batch = [image.pixels for image in images if image.pixels is not None]
    if not batch:
        return _Inferred(images, np.empty((0, 0)))
    return _Inferred(images, infer(batch[0][np.newaxis] if len(batch) == 1 else np.stack(batch)))


def _rows(inferred: _Inferred) -> Iterator[tuple[Loaded, NDArray[np.floating] | None]]:
    rows = iter(inferred.rows)
    for image in inferred.images:
        yield image, None if image.pixels is None else next(rows)


def image_sources(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    """One source after the other; folders give their images. Raises UsageError at once where it is none itself."""
    if not is_source(images) and (
        not isinstance(images, Iterable) or isinstance(images, Mapping) or hasattr(images, "__dlpack__")
    ):
        raise not_a_source(images)
    return _image_sources(images)


def _image_sources(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    if isinstance(images, (str, os.PathLike)):
        yield from find_images(Path(images))[0] if os.path.isdir(images) else [images]
    elif is_source(images):
        yield images  # type: ignore[misc]
    else:
        for image in cast("Iterable[ImageSource]", images):
            yield from image_sources(image)


def _grouped(sources: Iterator[ImageSource], size: int) -> Iterator[_Group]:
    """Groups of `size`, the last one shorter. A source that fails ends them: its error travels behind what it gave."""
    named = ((source_name(source, position), source) for position, source in enumerate(sources))
    while True:
        images: list[tuple[str, ImageSource]] = []
        try:
            images.extend(islice(named, size))  # keeps what came before an error
        except Exception as fault:  # whatever it is: the caller gets it, once what was taken is predicted
            yield _Group(images, fault)
            return
        if not images:
            return
        yield _Group(images)


def source_name(source: ImageSource, position: int) -> str:
    """The path, or "array 3", "image 3" (of Pillow), "file 3" (bytes, too): what it is and its place."""
    if isinstance(source, np.ndarray):
        return f"array {position}"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    kind = "image" if isinstance(source, Image.Image) else "file"
    return f"{kind} {position}"
