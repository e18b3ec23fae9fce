"""Small copies of images that only one of a row and its reference predicts correctly, for a page without the data."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage

MOST, SIDE_PX, QUALITY = 24, 96, 75  # about 3 kB each: the report grows by less than 100 kB


def most_telling(reference: NDArray[np.intp], rows: Sequence[NDArray[np.intp]]) -> list[int]:
    """Places of all images whose correctness changed in a row, those that most rows lose first, then in their order.

    All arguments are (N,) how many predictions for an image are right: the reference's, and each other row's.
    """
    lost = np.zeros(len(reference), dtype=np.intp)
    gained = np.zeros(len(reference), dtype=np.intp)
    for right in rows:
        lost += right < reference
        gained += right > reference
    order = sorted(range(len(reference)), key=lambda place: (-lost[place], -gained[place], place))
    return [place for place in order if lost[place] or gained[place]]


def thumbnails_of(images: Sequence[LabelledImage], places: Sequence[int], most: int = MOST) -> dict[str, str]:
    """Name -> JPEG in base64, at most SIDE_PX wide and high, of the first `most` places; no metadata goes along.

    An image that is gone since its prediction has none: that is no reason to lose what was measured.
    """
    found = {}
    for place in places[:most]:
        image = images[place]
        try:
            small = decode(image.path).image
        except ImageError:
            continue
        small.thumbnail((SIDE_PX, SIDE_PX))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=QUALITY)
        found[image.name] = base64.b64encode(file.getvalue()).decode("ascii")
    return found
