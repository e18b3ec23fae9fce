"""What a user holds: `Classifier.open(bundle).predict(images)` yields one prediction an image, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BundleError, ImageError, UsageError
from edgeclf_runtime.images import ImageSource, Limits, find_images
from edgeclf_runtime.manifest import Manifest, to_input
from edgeclf_runtime.pixels import PixelMode, Pixels, mode_facts
from edgeclf_runtime.proof import log_softmax
from edgeclf_runtime.session import Session, open_session

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Score:
    """A class and its probability (softmax or sigmoid), or its margin where the model has no probabilities."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one image, or its error.

    Attributes
    ----------
    source
        The path, or "array 3" / "file 3": what was asked, by its place.
    label
        The best class; "unknown" below the threshold; None where there is an error.
    scores
        The best classes, best first.
    notes
        What the decoder had to decide, such as "12 frames: the first is used".
    """

    source: str
    label: str | None
    scores: tuple[Score, ...]
    error: str | None = None
    notes: tuple[str, ...] = ()


_GROUPS_AHEAD = 2  # for each worker: none waits for the caller, and memory stays flat


class _Loaded(NamedTuple):
    """An image on its way: its pixels, or its error."""

    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None = None
    notes: tuple[str, ...] = ()


class _Scored(NamedTuple):
    """Images that went to the engine together, and the scores of those that could be read, in order."""

    images: list[_Loaded]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Work:
    """A group of images that workers were given, and how it becomes scored: waits for them."""

    futures: tuple[Future[Any], ...]
    finish: Callable[[], _Scored]


class Classifier:
    """A bundle ready to answer. One classifier serves several threads; each call of `predict` keeps its own order.

    Of a session with one stream, workers decode ahead while the engine, with all its threads, answers in the caller's.
    Of one with more streams each worker decodes and infers, so that no thread waits for another.
    """

    def __init__(self, bundle: Bundle, session: Session, limits: Limits, mode: PixelMode = "exact") -> None:
        if bundle.manifest.task != "classify" or bundle.manifest.pixels is None:
            raise BundleError(f"{bundle.path}: its task is {bundle.manifest.task}, not classify")
        self.bundle = bundle
        self.session = session
        self._pixels: Pixels = bundle.manifest.pixels
        self._limits = limits
        self._mode: PixelMode = mode
        decoders = min(len(os.sched_getaffinity(0)), session.threads)
        self._worker_count = decoders if session.streams == 1 else session.streams
        self._workers = ThreadPoolExecutor(self._worker_count, thread_name_prefix="edgeclf-worker")
        self._closed = False

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        options: SessionOptions = SessionOptions(),
        *,
        limits: Limits = Limits(),
        mode: PixelMode = "exact",
    ) -> Classifier:
        """Opens a bundle (folder or packed file) on its own engine; `mode` is for `Pixels.load`.

        Many images are answered soonest with SessionOptions(hint="throughput"), one with the default.

        Raises BundleError or BackendError.
        """
        opened = Bundle.open(bundle)
        if opened.manifest.task != "classify":
            raise BundleError(f"{opened.path}: its task is {opened.manifest.task}, not classify; run `edgeclf embed`")
        return cls(opened, open_session(opened, options), limits, mode)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.manifest.labels

    @property
    def facts(self) -> dict[str, str]:
        """The session's facts and the mode of the pixels, as this machine's proofs have them."""
        return {**self.session.facts, **mode_facts(self._mode)}

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        channels: str = "rgb",
        batch_size: int = 1,
        top: int = 5,
        threshold: float | None = None,
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`; images that can't be read give a prediction with an error.

        Parameters
        ----------
        images
            A path, folder, binary file, bytes or array, or an iterable of them.
        channels
            Order of colours in arrays, "rgb" or "bgr".
        batch_size
            Images handed to the engine at a time; the next ones are decoded meanwhile.
        top
            How many classes a prediction lists.
        threshold
            Probability below which the label is "unknown"; None: what the bundle says.
        """
        if channels not in ("rgb", "bgr"):
            raise UsageError(f"no channel order {channels!r}; choose one of rgb, bgr")
        if batch_size < 1 or top < 1:
            raise UsageError(f"batch size and top must be at least 1, found {batch_size} and {top}")
        margins = self.bundle.manifest.scores == "margin"
        if threshold is not None and not (np.isfinite(threshold) and (margins or 0 <= threshold <= 1)):
            kind = "margin" if margins else "probability of 0..1"
            raise UsageError(f"a threshold is a {kind}, found {threshold}")
        self.session.check_usable()
        return self._predict(image_sources(images), channels, batch_size, top, threshold)

    def _predict(
        self, sources: Iterator[ImageSource], channels: str, batch_size: int, top: int, threshold: float | None
    ) -> Iterator[Prediction]:
        groups = _grouped(sources, batch_size)
        first = list(islice(groups, 2))
        if [len(group) for group in first] == [1]:  # nothing to overlap: to wake a worker would only take time
            self.session.check_usable()
            yield from self._answer(self._score([self._load(*first[0][0], channels)]), top, threshold)
            return
        groups = chain(first, groups)
        ahead = _GROUPS_AHEAD * self._worker_count if self.session.streams > 1 else 1 + _GROUPS_AHEAD
        waiting: deque[_Work] = deque()
        try:
            while True:
                self.session.check_usable()  # after a fork the workers are gone, and waiting would not end
                waiting.extend(self._begin(group, channels) for group in islice(groups, ahead - len(waiting)))
                if not waiting:
                    return
                yield from self._answer(waiting.popleft().finish(), top, threshold)
        except (CancelledError, RuntimeError):  # what a pool says that was shut down
            if self._closed:
                raise UsageError("the classifier was closed meanwhile; open the bundle again") from None
            raise
        finally:
            for work in waiting:
                for future in work.futures:
                    future.cancel()

    def _begin(self, group: list[tuple[str, ImageSource]], channels: str) -> _Work:
        if self.session.streams == 1:
            loading = tuple(self._workers.submit(self._load, name, source, channels) for name, source in group)
            return _Work(loading, lambda: self._score([future.result() for future in loading]))
        whole = self._workers.submit(lambda: self._score([self._load(*each, channels) for each in group]))
        return _Work((whole,), whole.result)

    def _load(self, name: str, source: ImageSource, channels: str) -> _Loaded:
        try:
            pixels, notes = self._pixels.load(source, channels=channels, limits=self._limits, mode=self._mode)
        except ImageError as error:
            return _Loaded(name, None, str(error))
        return _Loaded(name, pixels, notes=notes)

    def _score(self, images: list[_Loaded]) -> _Scored:
        batch = [image.pixels for image in images if image.pixels is not None]
        return _Scored(images, self.scores(np.stack(batch)) if batch else np.empty((0, len(self.labels))))

    def _answer(self, scored: _Scored, top: int, threshold: float | None) -> Iterator[Prediction]:
        scores = iter(scored.scores)
        for image in scored.images:
            if image.pixels is None:
                yield Prediction(image.name, None, (), image.error)
            else:
                yield self.decide(image.name, next(scores), image.notes, top, threshold)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(N, H, W, 3) uint8 that went through the bundle's Pixels -> (N, classes) probabilities (or margins)."""
        manifest = self.bundle.manifest
        return probabilities(self.session(to_input(pixels, manifest.normalization)), manifest)

    def decide(
        self, name: str, scores: NDArray[np.float64], notes: tuple[str, ...], top: int, threshold: float | None
    ) -> Prediction:
        """The answer to the image `name` from its (classes,) row of `scores`, which `probabilities` gives."""
        if not np.isfinite(scores).all():
            return Prediction(name, None, (), "the engine gave NaN or infinite outputs; run `edgeclf verify`", notes)
        thresholds = self.bundle.manifest.thresholds
        order = np.argsort(-scores, kind="stable")[:top]
        best = int(order[0])
        least = threshold if threshold is not None else thresholds.unknown_below
        known = least is None or scores[best] >= least
        if known and threshold is None and thresholds.per_class is not None:
            known = scores[best] >= thresholds.per_class[best]
        listed = tuple(Score(self.labels[i], float(scores[i])) for i in order)
        return Prediction(name, self.labels[best] if known else UNKNOWN, listed, notes=notes)

    def close(self) -> None:
        """Frees workers and engine; what another thread's `predict` still waits for ends with a UsageError."""
        self._closed = True
        self._workers.shutdown(cancel_futures=True)
        self.session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def probabilities(logits: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float64]:
    """(N, classes) logits -> softmax or sigmoid of logits / temperature; margins stay as they are."""
    if manifest.scores == "margin":
        return logits.astype(np.float64)
    values = logits.astype(np.float64) / manifest.temperature
    if manifest.scores == "softmax":
        with np.errstate(invalid="ignore"):  # infinite logits become NaN, which `decide` reports
            return np.exp(log_softmax(values))
    return 0.5 * (1.0 + np.tanh(0.5 * values))  # the sigmoid 1 / (1 + exp(-x)) without overflow


def image_sources(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    """One source after the other; folders give their images."""
    if isinstance(images, (bytes, np.ndarray)) or hasattr(images, "read"):
        yield images  # type: ignore[misc]
    elif isinstance(images, (str, os.PathLike)):
        yield from find_images(Path(images))[0] if os.path.isdir(images) else [images]
    elif isinstance(images, Iterable):
        for image in images:
            yield from image_sources(image)
    else:
        raise UsageError(f"wanted paths, binary files, bytes or arrays, found {type(images).__name__}")


def _grouped(sources: Iterator[ImageSource], size: int) -> Iterator[list[tuple[str, ImageSource]]]:
    """(name, source) in groups of `size`, the last one shorter."""
    named = ((source_name(source, position), source) for position, source in enumerate(sources))
    while group := list(islice(named, size)):
        yield group


def source_name(source: ImageSource, position: int) -> str:
    """The path, or what it is and its place."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return f"{'array' if isinstance(source, np.ndarray) else 'file'} {position}"
