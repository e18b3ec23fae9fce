"""Whether drift is found where it was planted and nowhere else, on real images, and what counting costs.

python -m edgeclf_benchmarks.records.drift --bundle BUNDLE --images FOLDER -o benchmarks/results/drift.json

FOLDER has a folder a class, of images that neither trained nor validated the bundle, which keeps a summary of its
validation. All are predicted once; 20 draws of them are counted as `edgeclf predict --summary` counts, then images
under less light and blurred ones, and draws without one class, each class in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.images.decode import decode, find_images
from edgeclf_runtime.monitoring.counter import PredictionCounter
from edgeclf_runtime.monitoring.drift import find_drift
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import validation_of

_DRAWS = 20
Seen = list[tuple[dict[str, float], Prediction]]


def see(classifier: Classifier, images: list[Any]) -> Seen:
    """How each image looks to the model, and its prediction."""
    seen: Seen = []
    for _ in classifier.predict(
        images, observe=lambda pixels, found: seen.append(({} if pixels is None else image_statistics(pixels), found))
    ):
        pass
    return seen


def verdict(bundle: Bundle, seen: Seen) -> dict[str, Any]:
    """What `edgeclf drift` says of these predictions."""
    counter = PredictionCounter(bundle)
    for looks, prediction in seen:
        counter.count_looks(looks, prediction)
    found = find_drift(bundle, counter.summary())
    changed = {change.name: change.verdict for change in found.changes if change.verdict != "fine"}
    return {"verdict": found.verdict, "changes": changed}


def cost_ms(classifier: Classifier, bundle: Bundle, path: Path, calls: int = 200) -> dict[str, float]:
    """CPU milliseconds of predicting one image, and of counting it."""
    counter = PredictionCounter(bundle)
    kept: list[Any] = []
    predicting, counting = [], []
    for _ in range(calls):
        start = time.process_time()
        (found,) = classifier.predict(path, observe=lambda pixels, _: kept.append(pixels))
        between = time.process_time()
        counter.count(kept.pop(), found)
        predicting.append(between - start)
        counting.append(time.process_time() - between)
    predict_ms, count_ms = (1000 * statistics.median(each) for each in (predicting, counting))
    return {"predict_ms": round(predict_ms, 3), "count_ms": round(count_ms, 3)}


def measure(bundle: Bundle, folder: Path, sizes: list[int]) -> dict[str, Any]:
    files = find_images(folder)[0]
    labels = np.array([file.relative_to(folder).parts[0] for file in files])
    random = np.random.default_rng(0)
    few = random.choice(len(files), min(sizes), replace=False)
    with Classifier.open(bundle) as classifier:
        seen = see(classifier, list(files))
        images = [decode(files[i]).image for i in few]
        changed = {
            "light x 0.7": [_darker(image, 0.7) for image in images],
            "light x 0.9": [_darker(image, 0.9) for image in images],
            "blurred, radius 1 px": [image.filter(ImageFilter.GaussianBlur(1)) for image in images],
        }
        cameras = {name: verdict(bundle, see(classifier, each)) for name, each in changed.items()}
        cost = cost_ms(classifier, bundle, files[0])

    def drawn(places: NDArray[np.intp], size: int) -> dict[str, Any]:
        return verdict(bundle, [seen[i] for i in random.choice(places, size, replace=False)])

    everything = np.arange(len(files))
    return {
        "data": f"{folder.resolve().parent.name}/{folder.resolve().name}",
        "images": len(files),
        "validation_images": validation_of(bundle).images,
        "draws_of_the_same": {
            size: Counter(drawn(everything, size)["verdict"] for _ in range(_DRAWS)) for size in sizes
        },
        "camera_changed": {"images": min(sizes), **cameras},
        "class_gone": {
            size: {gone: drawn(np.flatnonzero(labels != gone), size)["verdict"] for gone in np.unique(labels).tolist()}
            for size in sizes
        },
        "cost": cost,
    }


def _darker(image: Image.Image, light: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(light)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sizes", type=int, nargs="+", default=[400, 1000], help="images a draw")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    figures = measure(Bundle.open(arguments.bundle), arguments.images, arguments.sizes)
    print(figures)
    write_record(arguments.output, "edgeclf_benchmarks.records.drift", figures)


if __name__ == "__main__":
    main()
