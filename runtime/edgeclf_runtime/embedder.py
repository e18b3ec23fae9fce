"""An encoder's bundle ready to answer: `Embedder.open(bundle)` turns pictures or texts into embeddings of length 1."""

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
    """The (width,) float32 vector of one image or text, or the error of an image that can't be read."""

    source: str
    vector: NDArray[np.float32] | None
    error: str | None = None


class Embedder:
    """Serves several threads, as its session does."""

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
        """Opens a bundle (folder or packed file) on its own engine; `mode` is for `Pixels.load`.

        Raises BundleError or BackendError.
        """
        opened = Bundle.open(bundle)
        task = opened.manifest.task
        if task == "classify":
            raise BundleError(f"{opened.path}: its task is classify; it has no embeddings, `edgeclf predict` runs it")
        return cls(opened, open_session(opened, options), limits, mode)

    @property
    def facts(self) -> dict[str, str]:
        """The session's facts and the mode of the pixels, as this machine's proofs have them."""
        return {**self.session.facts, **mode_facts(self._mode)}

    @property
    def space(self) -> str:
        """What tells whose embeddings may be compared: the reference, which names the weights of both encoders."""
        return self.bundle.manifest.reference.id

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 8) -> NDArray[np.float32]:
        """(N, width) float32. Raises UsageError where the bundle takes pictures."""
        if self._tokenizer is None:
            raise UsageError(f"{self.bundle.path} takes pictures, not texts; export the text encoder with --part text")
        chunks = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        return np.concatenate([_of_length_1(self.session(self._tokenizer(chunk))) for chunk in chunks or [[]]])

    def embed_images(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int = 1, channels: str = "rgb"
    ) -> Iterator[Embedding]:
        """Embeddings in the order of `images`, decoded in threads; a bad image gives its error and the others theirs.

        Raises UsageError where the bundle takes texts.
        """
        if self._pipeline is None:
            raise UsageError(
                f"{self.bundle.path} takes texts, not pictures; export the image encoder with --part image"
            )
        answered = self._pipeline.run(images, self._vectors, channels=channels, batch_size=batch_size)
        return (_embedding(image, vector) for image, vector in answered)

    def _vectors(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return _of_length_1(self.session(to_input(pixels, self.bundle.manifest.normalization)))

    def close(self) -> None:
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
