"""What a second Ray worker brings: images/s of a bundle over a data set with one and two workers, and without Ray.

    python -m edgeclf_benchmarks.records.cluster BUNDLE --image PHOTO -o benchmarks/results/cluster.json

All of a run, Ray itself too, is held to as many cores as it has workers, and the plain run to one: with more, a single
worker decodes beside its engine and leaves no core to a second one. Ray starts workers anew for every run; so a run is
made over a quarter of the images and over all of them, and the rate is of what lies between.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.classifier import Classifier

_DRIVER = """
import json, sys, time
from edgeclf.integrations.ray_data import ClassifyWithBundle
import ray

bundle, image, images, workers = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
ray.init(num_cpus=workers + 1, include_dashboard=False, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
data = open(image, "rb").read()
def seconds(count):
    rows = ray.data.from_items([{"bytes": data}] * count, override_num_blocks=max(workers, count // 100))
    start = time.perf_counter()
    predicted = rows.map_batches(
        ClassifyWithBundle, fn_constructor_args=(bundle,), fn_constructor_kwargs={"top": 1},
        compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1, batch_size=50,
    ).materialize().count()
    assert predicted == count, predicted
    return time.perf_counter() - start
seconds(100)  # what Ray does but once
print(json.dumps([seconds(images // 4), seconds(images)]))
"""


def run_ray(bundle: Path, image: Path, images: int, workers: int) -> tuple[float, float]:
    """Seconds of a quarter of the images, and of all, in a process of its own on as many cores as `workers`."""
    arguments = [sys.executable, "-c", _DRIVER, str(bundle), str(image), str(images), str(workers)]
    with held_to(workers):
        done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the run with Ray ended with {done.returncode}")
    quarter, whole = json.loads(done.stdout.splitlines()[-1])
    return quarter, whole


@contextmanager
def held_to(cores: int) -> Iterator[None]:
    """This process, and those that it starts, on so many cores."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < cores:
        raise SystemExit(f"wanted {cores} cores, found {len(allowed)}")
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def run_plain(bundle: Path, image: Path, images: int) -> float:
    """Images/s of one process on one core."""
    data = image.read_bytes()
    with held_to(1), Classifier.open(bundle, SessionOptions(threads=1)) as classifier:
        list(classifier.predict([data] * 20, top=1))
        start = time.perf_counter()
        for _ in classifier.predict([data] * images, top=1):
            pass
        return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--image", type=Path, required=True, metavar="PHOTO")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    bundle, image = given.bundle.resolve(), given.image.resolve()
    plain = [run_plain(bundle, image, given.images) for _ in range(given.runs)]
    crowds = range(1, given.workers + 1)
    found = [{workers: run_ray(bundle, image, given.images, workers) for workers in crowds} for _ in range(given.runs)]
    counted = given.images - given.images // 4
    rates = {workers: [counted / (run[workers][1] - run[workers][0]) for run in found] for workers in crowds}
    figures: dict[str, Any] = {
        "bundle": bundle.name,
        "images": given.images,
        "plain_images_per_s": spread(plain, 1),
        "images_per_s": {f"{workers} workers": spread(each, 1) for workers, each in rates.items()},
        "whole_s": {f"{workers} workers": spread([run[workers][1] for run in found], 1) for workers in rates},
        "speed_up": round(statistics.median(rates[given.workers]) / statistics.median(rates[1]), 3),
    }
    print(json.dumps(figures, indent=1))
    write_record(given.output, "edgeclf_benchmarks.records.cluster", figures)


if __name__ == "__main__":
    main()
