"""What a user holds: `Classifier.open(bundle).predict(images)` yields one prediction an image, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BundleError, ImageError, UsageError
from edgeclf_runtime.images import ImageSource, Limits, find_images
from edgeclf_runtime.manifest import Manifest, to_input
from edgeclf_runtime.pixels import Pixels
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


_Loaded = tuple["NDArray[np.uint8] | None", "str | None", tuple[str, ...]]


class Classifier:
    """A bundle ready to answer. One classifier serves several threads; each call of `predict` keeps its own order."""

    def __init__(self, bundle: Bundle, session: Session, limits: Limits) -> None:
        if bundle.manifest.task != "classify" or bundle.manifest.pixels is None:
            raise BundleError(f"{bundle.path}: its task is {bundle.manifest.task}, not classify")
        self.bundle = bundle
        self.session = session
        self._pixels: Pixels = bundle.manifest.pixels
        self._limits = limits
        self._decoders = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="edgeclf-decode")

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        options: SessionOptions = SessionOptions(),
        *,
        limits: Limits = Limits(),
    ) -> Classifier:
        """Opens a bundle (folder or packed file) on its own engine. Raises BundleError or BackendError."""
        opened = Bundle.open(bundle)
        if opened.manifest.task != "classify":
            raise BundleError(f"{opened.path}: its task is {opened.manifest.task}, not classify; run `edgeclf embed`")
        return cls(opened, open_session(opened, options), limits)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.bundle.manifest.labels

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
        waiting: deque[tuple[str, Future[_Loaded]]] = deque()
        ahead = 2 * batch_size + 2  # enough to keep the decoders busy while the engine runs; bounds the memory
        exhausted = False
        position = 0
        try:
            while waiting or not exhausted:
                self.session.check_usable()  # after a fork the decoding threads are gone, and waiting would not end
                while not exhausted and len(waiting) < ahead:
                    source = next(sources, None)
                    if source is None:
                        exhausted = True
                        break
                    waiting.append((source_name(source, position), self._decoders.submit(self._load, source, channels)))
                    position += 1
                group = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                yield from self._answer([(name, future.result()) for name, future in group], top, threshold)
        finally:
            for _, future in waiting:
                future.cancel()

    def _load(self, source: ImageSource, channels: str) -> _Loaded:
        try:
            pixels, notes = self._pixels.load(source, channels=channels, limits=self._limits)
        except ImageError as error:
            return None, str(error), ()
        return pixels, None, notes

    def _answer(self, group: list[tuple[str, _Loaded]], top: int, threshold: float | None) -> Iterator[Prediction]:
        batch = [pixels for _, (pixels, _, _) in group if pixels is not None]
        scores = iter(self.scores(np.stack(batch)) if batch else ())
        for name, (pixels, error, notes) in group:
            if pixels is None:
                yield Prediction(name, None, (), error)
            else:
                yield self.decide(name, next(scores), notes, top, threshold)

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
        self._decoders.shutdown(cancel_futures=True)
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


def source_name(source: ImageSource, position: int) -> str:
    """The path, or what it is and its place."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return f"{'array' if isinstance(source, np.ndarray) else 'file'} {position}"
