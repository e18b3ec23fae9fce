"""A model run over labelled images: read and prepared ahead in threads, inferred in batches, errors kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.threads import in_threads

T = TypeVar("T")
Row = NDArray[np.floating]


def predict_images(
    images: Sequence[LabelledImage],
    prepare: Callable[[LabelledImage], T],
    infer: Callable[[list[T]], NDArray[np.floating]],
    *,
    batch_size: int = 16,
) -> Iterator[tuple[LabelledImage, Row | ImageError]]:
    """Each image in order with its row of outputs, or with the error for which there is none.

    To be wrapped in a progress bar: one item an image.

    Parameters
    ----------
    prepare
        What the model takes of an image, such as `lambda image: image.load(pixels)`; threads call it for the images
        ahead while `infer` runs. It may raise ImageError; any other error ends it all.
    infer
        Outputs, a row an image, for what `prepare` gave for at most `batch_size` of them; called in this thread.
    """
    prepared = prepare_images(images, prepare)
    while batch := list(islice(prepared, batch_size)):
        inputs = [found for _, found in batch if not isinstance(found, ImageError)]
        rows = iter(infer(inputs)) if inputs else iter(())
        for image, found in batch:
            yield image, found if isinstance(found, ImageError) else next(rows)


def prepare_images(
    images: Sequence[LabelledImage], prepare: Callable[[LabelledImage], T]
) -> Iterator[tuple[LabelledImage, T | ImageError]]:
    """Each image in order with what `prepare` makes of it in a thread, or with the ImageError that it raised."""

    def attempt(image: LabelledImage) -> T | ImageError:
        try:
            return prepare(image)
        except ImageError as error:
            return error

    return zip(images, in_threads(attempt, images), strict=True)


def strictly(
    found: Iterable[tuple[LabelledImage, T | ImageError]], advice: str = ""
) -> Iterator[tuple[LabelledImage, T]]:
    """The same without errors: raises DataError at the first one, which names the file and gives the `advice`."""
    for image, each in found:
        if isinstance(each, ImageError):
            raise DataError(f"{image.path}: {each}{advice and f'; {advice}'}") from each
        yield image, each
