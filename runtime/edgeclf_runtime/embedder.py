"""An encoder's bundle ready to run: `Embedder.open(bundle)` turns images or texts into embeddings of length 1."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.pixels import PixelMode, mode_facts
from edgeclf_runtime.images.sources import ImageSource
from edgeclf_runtime.pipeline import ImagePipeline, Loaded
from edgeclf_runtime.session import Session, open_session
from edgeclf_runtime.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Embedding:
    """The embedding of one image, or the error of one that can't be read.

    Attributes
    ----------
    source
        The path, or "array 3", "image 3" (of PIL), "file 3" (bytes, too): what was given, by its place.
    vector
        (width,) float32 of length 1; None where there is an error.
    error
        Why there is no vector, or None.
    """

    source: str
    vector: NDArray[np.float32] | None
    error: str | None = None


class Embedder:
    """A bundle of an encoder, of images or of texts, ready to run. One embedder serves several threads.

    Made by `Embedder.open`, closed by `close` or at the end of a `with` block.

    Attributes
    ----------
    bundle
        The bundle that it runs.
    session
        The engine under it.

    Examples
    --------
    >>> from edgeclf_runtime import Embedder
    >>> with Embedder.open("bundles/scenes-encoder") as embedder:
    ...     lake, bark = embedder.embed_images(["photos/lake.jpg", "photos/bark.jpg"])
    >>> lake.vector.shape, round(float(lake.vector @ lake.vector), 3)
    ((3,), 1.0)
    """

    def __init__(self, bundle: Bundle, session: Session, limits: Limits, mode: PixelMode = "exact") -> None:
        self.bundle = bundle
        self.session = session
        self._mode: PixelMode = mode
        pixels = bundle.manifest.pixels
        self._tokenizer = Tokenizer.of(bundle) if bundle.manifest.task == "embed-text" else None
        self._pipeline = None if pixels is None else ImagePipeline(pixels, session, limits, mode)

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        options: SessionOptions = SessionOptions(),
        *,
        limits: Limits = Limits(),
        mode: PixelMode = "exact",
    ) -> Embedder:
        """Opens a bundle on the engine that it is made for; the parameters are those of `Classifier.open`.

        Raises
        ------
        BundleError
            It is damaged, or a classifier's.
        BackendError
            Its engine is missing, or can't do what `options` require.
        """
        opened = Bundle.open(bundle)
        task = opened.manifest.task
        if task == "classify":
            raise BundleError(f"{opened.path}: its task is classify; it has no embeddings, `edgeclf predict` runs it")
        return cls(opened, open_session(opened, options), limits, mode)

    @property
    def facts(self) -> dict[str, str]:
        """What runs it: the session's `facts` and the mode of the pixels, as this machine's proofs record them."""
        return {**self.session.facts, **mode_facts(self._mode)}

    @property
    def space(self) -> str:
        """What decides whose embeddings may be compared: the reference, which names the weights of both encoders."""
        return self.bundle.manifest.reference.id

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 8) -> NDArray[np.float32]:
        """The embeddings of texts.

        Parameters
        ----------
        texts
            N texts; what is longer than the encoder's context is cut.
        batch_size
            Texts handed to the engine at a time.

        Returns
        -------
        ndarray
            (N, width) float32, rows of length 1.

        Raises
        ------
        UsageError
            The bundle takes images.
        """
        if self._tokenizer is None:
            raise UsageError(f"{self.bundle.path} takes images, not texts; export the text encoder with --encoder text")
        chunks = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        return np.concatenate([_of_length_1(self.session(self._tokenizer(chunk))) for chunk in chunks or [[]]])

    def embed_images(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 1, channels: str = "rgb"
    ) -> Iterator[Embedding]:
        """Embeddings in the order of `images`, which are decoded in threads.

        Parameters
        ----------
        images, channels
            As for `Classifier.predict`.
        batch_size
            Images handed to the engine at a time.

        Yields
        ------
        Embedding
            One an image. One that can't be read has `error` set and costs the others nothing.

        Raises
        ------
        UsageError
            The bundle takes texts, or something given is no image at all.
        """
        if self._pipeline is None:
            raise UsageError(
                f"{self.bundle.path} takes texts, not images; export the image encoder with --encoder image"
            )
        found = self._pipeline.run(images, self._vectors, channels=channels, batch_size=batch_size)
        return (_embedding(image, vector) for image, vector in found)

    def _vectors(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _of_length_1(self.session(to_input(pixels, self.bundle.manifest.normalization)))

    def close(self) -> None:
        """Frees workers and engine."""
        if self._pipeline is not None:
            self._pipeline.close()
        self.session.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _embedding(image: Loaded, vector: NDArray[np.floating] | None) -> Embedding:
    if vector is None:
        return Embedding(image.name, None, image.error)
    if not np.isfinite(vector).all():
        return Embedding(image.name, None, "the engine gave NaN or infinite outputs; run `edgeclf verify`")
    return Embedding(image.name, np.asarray(vector, dtype=np.float32))


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The graph gives them so; low precision leaves a remainder that would show in cosines."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)
