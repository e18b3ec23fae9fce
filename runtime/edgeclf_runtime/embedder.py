"""An encoder's bundle ready to answer: `Embedder.open(bundle)` turns pictures or texts into embeddings of length 1."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.classifier import image_sources, source_name
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BundleError, ImageError, UsageError
from edgeclf_runtime.images import ImageSource, Limits
from edgeclf_runtime.manifest import to_input
from edgeclf_runtime.session import Session, open_session
from edgeclf_runtime.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Embedding:
    """The (width,) float32 vector of one image or text, or the error of an image that can't be read."""

    source: str
    vector: NDArray[np.float32] | None
    error: str | None = None


_Loaded = tuple["NDArray[np.uint8] | None", "str | None"]


class Embedder:
    """Serves several threads, as its session does."""

    def __init__(self, bundle: Bundle, session: Session, limits: Limits) -> None:
        self.bundle = bundle
        self.session = session
        self._limits = limits
        self._tokenizer = Tokenizer.of(bundle) if bundle.manifest.task == "embed-text" else None

    @classmethod
    def open(
        cls,
        bundle: Bundle | str | os.PathLike[str],
        options: SessionOptions = SessionOptions(),
        *,
        limits: Limits = Limits(),
    ) -> Embedder:
        """Opens a bundle (folder or packed file) on its own engine. Raises BundleError or BackendError."""
        opened = Bundle.open(bundle)
        task = opened.manifest.task
        if task == "classify":
            raise BundleError(f"{opened.path}: its task is classify; it has no embeddings, `edgeclf predict` runs it")
        return cls(opened, open_session(opened, options), limits)

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
        if self._tokenizer is not None:
            raise UsageError(
                f"{self.bundle.path} takes texts, not pictures; export the image encoder with --part image"
            )
        if batch_size < 1:
            raise UsageError(f"batch size must be at least 1, found {batch_size}")
        return self._embed_images(image_sources(images), batch_size, channels)

    def _embed_images(self, sources: Iterator[ImageSource], batch_size: int, channels: str) -> Iterator[Embedding]:
        waiting: deque[tuple[str, Future[_Loaded]]] = deque()
        numbered = enumerate(sources)
        most = min(len(os.sched_getaffinity(0)), self.session.threads)
        with ThreadPoolExecutor(most, thread_name_prefix="edgeclf-decode") as decoders:
            while True:
                for place, source in islice(numbered, 2 * batch_size + 2 - len(waiting)):
                    waiting.append((source_name(source, place), decoders.submit(self._load, source, channels)))
                if not waiting:
                    return
                group = [waiting.popleft() for _ in range(min(batch_size, len(waiting)))]
                yield from self._answer([(name, future.result()) for name, future in group])

    def _load(self, source: ImageSource, channels: str) -> _Loaded:
        pixels = self.bundle.manifest.pixels
        if pixels is None:
            return None, "the bundle has no pixel contract; export it again"
        try:
            return pixels.load(source, channels=channels, limits=self._limits)[0], None
        except ImageError as error:
            return None, str(error)

    def _answer(self, group: list[tuple[str, _Loaded]]) -> Iterator[Embedding]:
        batch = [pixels for _, (pixels, _) in group if pixels is not None]
        vectors = iter(())
        if batch:
            vectors = iter(_of_length_1(self.session(to_input(np.stack(batch), self.bundle.manifest.normalization))))
        for name, (pixels, error) in group:
            vector = None if pixels is None else next(vectors)
            if vector is not None and not np.isfinite(vector).all():
                vector, error = None, "the engine gave NaN or infinite outputs; run `edgeclf verify`"
            yield Embedding(name, vector, error)

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_length_1(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The graph gives them so; low precision leaves a remainder that would show in cosines."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)
