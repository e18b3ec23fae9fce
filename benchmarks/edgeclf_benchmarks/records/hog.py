"""HOG in numpy against scikit-image's, side by side in one run: milliseconds an image and the ratio, on real images.

python -m edgeclf_benchmarks.records.hog --images FOLDER -o benchmarks/results/hog.json

Both get the same grey arrays, one at a time (as a device has them) and all in a row; needs scikit-image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.hog import SIDE_PX, grey_levels, hog
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.pixels import Pixels

Grey = NDArray[np.uint8]


def load_grey(folder: Path, most: int) -> Grey:
    """(N, 64, 64) uint8: at most `most` images of a folder, spread evenly, as the baseline sees them."""
    files = find_images(folder)[0]
    if not files:
        raise SystemExit(f"no images in {folder}")
    count = min(most, len(files))
    pixels = Pixels("exact", (SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX))
    return np.stack([grey_levels(pixels.load(files[i * len(files) // count])[0]) for i in range(count)])


def scikit_image_hog(image: Grey) -> NDArray[np.float64]:
    from skimage.feature import hog as independent

    features: NDArray[np.float64] = independent(
        image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), block_norm="L2-Hys"
    )
    return features


def measure(grey: Grey, rounds: int) -> dict[str, Any]:
    """Medians of each round, the contenders taken in turn within it; ratios are within a round."""
    contenders: dict[str, Callable[[], float]] = {
        "scikit_image": lambda: _one_by_one(scikit_image_hog, grey),
        "one": lambda: _one_by_one(lambda image: hog(image[None]), grey),
        "batch": lambda: _milliseconds(lambda: hog(grey)) / len(grey),
    }
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            taken = contender()
            if turn:  # the first round warms up
                samples[name].append(taken)
    ratios = {
        name: [a / b for a, b in zip(samples["scikit_image"], samples[name], strict=True)] for name in ("one", "batch")
    }
    wanted = np.stack([scikit_image_hog(image) for image in grey])
    return {
        "images": len(grey),
        "scikit_image_ms": spread(samples["scikit_image"], 4),
        "one_at_a_time_ms": spread(samples["one"], 4),
        "in_a_batch_ms": spread(samples["batch"], 4),
        "times_faster_one_at_a_time": spread(ratios["one"], 2),
        "times_faster_in_a_batch": spread(ratios["batch"], 2),
        "largest_difference": float(np.abs(hog(grey) - wanted).max()),
    }


def _one_by_one(extract: Callable[[Grey], Any], grey: Grey) -> float:
    """Median milliseconds of a call."""
    return statistics.median(_milliseconds(partial(extract, image)) for image in grey)


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    figures = measure(load_grey(arguments.images, arguments.most), arguments.rounds)
    print(figures)
    write_record(arguments.output, "edgeclf_benchmarks.records.hog", figures)


if __name__ == "__main__":
    main()
