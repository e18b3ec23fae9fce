"""What is timed: each contender opens a new session on request, prepares its input from file bytes, and infers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session

AGAIN = " (again)"  # suffix of the second of two contenders with one bundle


@dataclass(frozen=True, slots=True)
class Opened:
    """A contender that is ready.

    `prepare` turns the bytes of image files into the input of one call (decode and geometry); `infer` turns that into
    (N, classes or width) outputs in the host's memory, in as many threads at a time as it has `streams`.
    """

    prepare: Callable[[Sequence[bytes]], Any]
    infer: Callable[[Any], NDArray[np.floating]]
    close: Callable[[], None]
    compute_precision: str
    engine: dict[str, str]
    streams: int = 1


class Contender(Protocol):
    """What rounds and scenarios need of a row. `largest_batch`: None where any batch size works."""

    @property
    def name(self) -> str: ...
    @property
    def largest_batch(self) -> int | None: ...
    def open(self, options: SessionOptions) -> Opened: ...


@dataclass(frozen=True, slots=True)
class BundleContender:
    """A bundle on its own engine, as the runtime opens it."""

    name: str
    bundle: Bundle
    largest_batch: int | None = None

    def open(self, options: SessionOptions) -> Opened:
        manifest, pixels = self.bundle.manifest, pixels_of(self.bundle)
        session = open_session(self.bundle, options)

        def prepare(files: Sequence[bytes]) -> NDArray[np.generic]:
            return to_input(np.stack([pixels.load(data)[0] for data in files]), manifest.normalization)

        return Opened(prepare, session, session.close, session.compute_precision, session.facts, session.streams)

    def again(self) -> BundleContender:
        """The same bundle under another name, to measure A/A noise."""
        return replace(self, name=self.name + AGAIN)


def pixels_of(bundle: Bundle) -> Pixels:
    """The bundle's pixel contract. Raises UsageError for one that takes no images."""
    manifest = bundle.manifest
    if manifest.pixels is None:
        raise UsageError(f"{bundle.path}: its task is {manifest.task}; bench takes bundles whose input is images")
    return manifest.pixels
