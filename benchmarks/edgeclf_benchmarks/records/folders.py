"""A folder of photographs: `Classifier.predict` against a tutorial's plain loop, in turns; and where the time goes.

    python -m edgeclf_benchmarks.records.folders PYTORCH_BUNDLE BUNDLE... --images DIR \
        -o benchmarks/results/folders.json

The plain loop is PIL, torchvision's transforms and the eager module at batch 1, with the weights of the pytorch
bundle and all cores; a way with one stream shows what an inference a core gains. DIR holds images of any size; 64
JPEGs of 500x333 and of 1920x1280 are made from them, with noise as of a camera, since an enlarged image without it is
decoded too fast. The time of one thread for one image, stage by stage, gives the most images a second that this
runtime could reach. Only on a quiet machine: torch's threads spin while they wait, and under load the plain loop
falls far behind.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from edgeclf_benchmarks.measuring.contenders import pixels_of
from edgeclf_benchmarks.measuring.plain_loop import PlainLoop, can_stand_for
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.images.decode import find_images
from edgeclf_runtime.images.pixels import PixelMode, mode_facts
from edgeclf_runtime.session import open_session

SIZES_PX = {"small": (500, 333), "large": (1920, 1280)}
MODES: tuple[PixelMode, ...] = ("exact", "fast")
_QUALITY, _NOISE_LEVELS = 90, 3.0
_REST_S = 0.5  # threads that spin after a loop of torch's must not slow the next one


def make_photographs(folder: Path, size: tuple[int, int], count: int) -> list[bytes]:
    """`count` JPEGs of this (width, height), cut from the images in `folder` at seeded places."""
    random = np.random.default_rng(0)
    sources = find_images(folder)[0]
    if not sources:
        raise SystemExit(f"{folder}: no images")
    files = []
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as opened:
            fitted = ImageOps.fit(opened.convert("RGB"), size, centering=tuple(random.random(2)))
        noisy = np.asarray(fitted) + random.normal(0, _NOISE_LEVELS, (size[1], size[0], 1))
        file = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=_QUALITY)
        files.append(file.getvalue())
    return files


def measure(bundles: Sequence[Bundle], files: list[bytes], modes: Sequence[PixelMode], rounds: int) -> dict[str, Any]:
    """Images a second of each way, the ratio to the plain loop of the same round, and the stages of one image."""
    loops: dict[str, Callable[[], object]] = {"plain loop": _plain_loop(bundles[0], files)}
    opened = {}
    for bundle in bundles[1:]:
        # one inference after the other, by all threads together, while the next images are decoded
        opened[f"{bundle.name}, exact, one stream"] = Classifier.open(bundle, SessionOptions())
        for mode in modes:
            opened[f"{bundle.name}, {mode}"] = Classifier.open(bundle, SessionOptions(hint="throughput"), mode=mode)
    for name, classifier in opened.items():
        loops[name] = partial(_answer_all, classifier, files)
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, loop in loops.items():
            time.sleep(_REST_S)
            start = time.perf_counter()
            loop()
            if turn:  # the first one warms up
                taken[name].append(time.perf_counter() - start)
        print(f"round {turn} of {rounds}", file=sys.stderr)
    for classifier in opened.values():
        classifier.close()
    plain = taken["plain loop"]
    return {
        "images": len(files),
        "kb_an_image": round(statistics.mean(map(len, files)) / 1000, 1),
        "ways": {
            name: {
                "images_per_s": spread([len(files) / seconds for seconds in taken[name]], 1),
                "times_the_plain_loop": spread([base / own for base, own in zip(plain, taken[name], strict=True)], 2),
            }
            for name in loops
        },
        "fast_pixels_off_levels": _deviation(bundles[0], files),
        "stages_ms_one_thread": {
            f"{bundle.name}, {mode}": _stages(bundle, files[:16], mode) for bundle in bundles[1:] for mode in modes
        },
    }


def _deviation(bundle: Bundle, files: Sequence[bytes]) -> dict[str, Any]:
    """Levels (of 255) that fast pixels are off the exact ones, and what resized them."""
    pixels = pixels_of(bundle)
    off = [np.abs(pixels.load(file)[0].astype(int) - pixels.load(file, mode="fast")[0]) for file in files]
    return {
        "max": int(max(each.max() for each in off)),
        "mean": round(float(np.mean([each.mean() for each in off])), 3),
        **mode_facts("fast"),
    }


def _answer_all(classifier: Classifier, files: list[bytes]) -> list[Prediction]:
    return list(classifier.predict(files))


def _plain_loop(bundle: Bundle, files: list[bytes]) -> Callable[[], object]:
    if not can_stand_for(bundle):
        raise SystemExit(f"{bundle.name}: the first bundle has to be a pytorch one in fp32")
    plain = PlainLoop(bundle).open(SessionOptions())
    return lambda: [plain.infer(plain.prepare([file])) for file in files]


def _stages(bundle: Bundle, files: list[bytes], mode: PixelMode) -> dict[str, float]:
    """Medians of one thread's milliseconds for an image: to its pixels, and through the engine."""
    pixels, prepared, inferred = pixels_of(bundle), [], []
    with open_session(bundle, SessionOptions(threads=1)) as session:
        for file in [*files, *files]:
            start = time.perf_counter()
            loaded = pixels.load(file, mode=mode)[0]
            between = time.perf_counter()
            session(loaded[None])
            prepared.append(between - start)
            inferred.append(time.perf_counter() - between)
    stages = {"pixels": prepared, "engine": inferred}
    return {name: round(1000 * statistics.median(seconds), 2) for name, seconds in stages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="first the pytorch one, then what to measure")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sizes", default="small,large", help="of small, large")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    bundles = [Bundle.open(path) for path in arguments.bundles]
    figures = {}
    for size in arguments.sizes.split(","):
        files = make_photographs(arguments.images, SIZES_PX[size], arguments.count)
        figures[size] = measure(bundles, files, MODES, arguments.rounds)
        for name, way in figures[size]["ways"].items():
            print(
                f"{size}, {name}: {way['images_per_s']['median']} images/s, {way['times_the_plain_loop']['median']} x"
            )
    write_record(arguments.output, "edgeclf_benchmarks.records.folders", figures)


if __name__ == "__main__":
    main()
