"""What a user holds: `Classifier.open(bundle).predict(images)` yields one prediction an image, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import Prediction, decide, scores_of
from edgeclf_runtime.bundle.features import FeatureIndex, read_class_means, read_index
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.pixels import PixelMode, mode_facts
from edgeclf_runtime.images.sources import ImageSource
from edgeclf_runtime.pipeline import ImagePipeline, Loaded
from edgeclf_runtime.session import Session, open_session

if TYPE_CHECKING:
    from edgeclf_runtime.deploy.batch_size import BatchChoice


class Classifier:
    """A bundle ready to predict. One classifier serves several threads; each call of `predict` keeps its own order.

    Made by `Classifier.open`, closed by `close` or at the end of a `with` block.

    Attributes
    ----------
    bundle
        The bundle that it runs.
    session
        The engine under it: (N, H, W, 3) uint8 RGB pixels -> (N, classes) float32 logits.

    Examples
    --------
    >>> from edgeclf_runtime import Classifier
    >>> with Classifier.open("bundles/scenes") as classifier:
    ...     for prediction in classifier.predict(["photos/lake.jpg", "photos/missing.jpg"], top=1):
    ...         print(prediction.source, prediction.label, prediction.error)
    photos/lake.jpg pagoda None
    photos/missing.jpg None No such file or directory
    """

    def __init__(self, bundle: Bundle, session: Session, limits: Limits, mode: PixelMode = "exact") -> None:
        if bundle.manifest.task != "classify" or bundle.manifest.pixels is None:
            raise BundleError(f"{bundle.path}: its task is {bundle.manifest.task}, not classify")
        self.bundle = bundle
        self.session = session
        self._classes = len(bundle.manifest.labels)
        self._means = read_class_means(bundle) if bundle.manifest.thresholds.features is not None else None
        self._index: FeatureIndex | None = None  # read when nearest images are first asked for
        self._mode: PixelMode = mode
        self._pipeline = ImagePipeline(bundle.manifest.pixels, session, limits, mode)

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        options: SessionOptions = SessionOptions(),
        *,
        limits: Limits = Limits(),
        mode: PixelMode = "exact",
    ) -> Classifier:
        """Opens a bundle on the engine that it is made for.

        Parameters
        ----------
        bundle
            Its folder, the .tar that `edgeclf pack` made of it, or an opened Bundle.
        options
            Device, threads and precision. The default is tuned for one image at a time; for many,
            `SessionOptions(hint="throughput")` is faster.
        limits
            What a single image may cost.
        mode
            "exact": the pixels of the reference, bit for bit; "fast": large JPEGs are decoded at a part of their size
            and resized by SIMD, so that pixels differ by some levels.

        Raises
        ------
        BundleError
            It is damaged, or of another task than classification.
        BackendError
            Its engine is missing, or can't do what `options` require.
        """
        opened = Bundle.open(bundle)
        if opened.manifest.task != "classify":
            raise BundleError(f"{opened.path}: its task is {opened.manifest.task}, not classify; run `edgeclf embed`")
        return cls(opened, open_session(opened, options), limits, mode)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.bundle.manifest.labels

    @property
    def facts(self) -> dict[str, str]:
        """What runs it: the session's `facts` and the mode of the pixels, as this machine's proofs record them."""
        return {**self.session.facts, **mode_facts(self._mode)}

    def predict(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        channels: str = "rgb",
        batch_size: int = 1,
        top: int = 5,
        threshold: float | None = None,
        nearest: int = 0,
        observe: Callable[[NDArray[np.uint8] | None, Prediction], object] | None = None,
    ) -> Iterator[Prediction]:
        """Predictions in the order of `images`; images that can't be read give a prediction with an error.

        Parameters
        ----------
        images
            One image or an iterable of them. An image is a path, bytes (bytearray, memoryview), a binary file, a PIL
            image of any mode (its EXIF orientation is applied, as a file's is), or an array (H, W), (H, W, 3) or
            (H, W, 4) of uint8 or uint16. The path of a folder stands for all images in it.
        channels
            Order of colours in arrays, "rgb" or "bgr". Files and PIL images state their own.
        batch_size
            Images handed to the engine at a time; the next ones are decoded meanwhile.
        top
            How many classes a prediction lists.
        threshold
            Score (a probability, or a margin) below which the label is "unknown", in place of all thresholds of the
            bundle, those of energy and features included; None: those. Where an image may have several labels, the
            probability from which on each is predicted.
        nearest
            How many training images a prediction lists whose features are nearest; the bundle has to keep them.
        observe
            Called with the (H, W, 3) uint8 pixels that the model saw (None: they can't be read) and the prediction,
            before it is yielded: `PredictionCounter.count`, for example.

        Yields
        ------
        Prediction
            One an image. One that can't be read has `error` set and costs the others nothing.

        Raises
        ------
        UsageError
            An option is not valid, or something given is no image at all (a tensor, None, a number, …).
        BundleError
            `nearest` was given, and the bundle keeps no training images.
        BackendError
            The engine failed.

        Examples
        --------
        >>> from PIL import Image
        >>> from edgeclf_runtime import Classifier
        >>> with Classifier.open("bundles/scenes") as classifier:
        ...     (prediction,) = classifier.predict(Image.open("photos/lake.jpg"), top=2)
        >>> prediction.source, prediction.label, [score.label for score in prediction.scores]
        ('image 0', 'pagoda', ['pagoda', 'sky'])
        """
        if top < 1:
            raise UsageError(f"top must be at least 1, found {top}")
        if nearest < 0:
            raise UsageError(f"nearest must be at least 0, found {nearest}")
        if nearest and self._index is None:
            self._index = read_index(self.bundle)
        margins = self.bundle.manifest.scores == "margin"
        if threshold is not None and not (np.isfinite(threshold) and (margins or 0 <= threshold <= 1)):
            kind = "margin" if margins else "probability of 0..1"
            raise UsageError(f"a threshold is a {kind}, found {threshold}")
        infer = partial(self.outputs, features=nearest > 0)
        found = self._pipeline.run(images, infer, channels=channels, batch_size=batch_size)
        return self._predictions(found, top, threshold, nearest, observe)

    def _predictions(
        self,
        found: Iterator[tuple[Loaded, NDArray[np.floating] | None]],
        top: int,
        threshold: float | None,
        nearest: int,
        observe: Callable[[NDArray[np.uint8] | None, Prediction], object] | None,
    ) -> Iterator[Prediction]:
        for image, row in found:
            if row is None:
                prediction = Prediction(image.name, None, (), image.error)
            else:
                prediction = self.decide(image.name, row, image.notes, top, threshold)
                if nearest and self._index is not None and prediction.error is None:
                    found_near = self._index.nearest(row[self._classes :], nearest)
                    prediction = replace(prediction, nearest=found_near)
            if observe is not None:
                observe(image.pixels, prediction)
            yield prediction

    def choose_batch_size(self, images: int | None = None) -> BatchChoice:
        """The batch size with the most images a second here, for so many `images` (None: very many).

        Measured with all streams busy, in less time than it saves: for few images it is 1 at once. A size that gives
        other outputs on the golden images than one image at a time, beyond the bundle's precision, is not taken.
        """
        from edgeclf_runtime.deploy.batch_size import choose_batch_size

        return choose_batch_size(self.session, self.bundle, self._pipeline, images)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 from the bundle's Pixels -> (N, classes) of the model's output: logits, or margins."""
        return self.session(to_input(pixels, self.bundle.manifest.normalization))

    def outputs(self, pixels: NDArray[np.uint8], *, features: bool = False) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 -> rows that `decide` takes: logits (N, classes), or (N, classes + width) with features.

        Features come in the same run, where the bundle has a threshold of them or the caller wants `features`.
        """
        return self.outputs_of(to_input(pixels, self.bundle.manifest.normalization), features=features)

    def outputs_of(self, batch: NDArray[np.generic], *, features: bool = False) -> NDArray[np.float32]:
        """As `outputs`, for a batch of the graph's own input."""
        if self._means is None and not features:
            return self.session(batch)
        return np.concatenate(self.session.with_features(batch), axis=1)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(N, H, W, 3) uint8 from the bundle's Pixels -> (N, classes) scores: probabilities, or margins."""
        return scores_of(self.logits(pixels), self.bundle.manifest)

    def decide(
        self, name: str, row: NDArray[np.floating], notes: tuple[str, ...], top: int, threshold: float | None
    ) -> Prediction:
        """The prediction for the image `name` from its row of `outputs`; of `logits`, features play no part in it."""
        logits, features = row[: self._classes], row[self._classes :]
        similarity = None
        if self._means is not None and len(features):
            similarity = float(self._means.similarities(features[np.newaxis])[0])
        return decide(self.bundle.manifest, name, logits, notes, top=top, threshold=threshold, similarity=similarity)

    def close(self) -> None:
        """Frees workers and engine; what another thread's `predict` still waits for ends with a UsageError."""
        self._pipeline.close()
        self.session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
