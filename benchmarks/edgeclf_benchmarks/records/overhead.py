"""What the runtime costs over the bare engine, for the same array in the same process: ratios of interleaved pairs.

Measured are a session's call, and `Classifier.predict` of one image that needs no decoding: its geometry, softmax and
sorting come on top.

    python -m edgeclf_benchmarks.records.overhead BUNDLE... -o benchmarks/results/overhead.json

Both calls run on one loaded model; the bare one is what a user of the engine would write.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.contenders import pixels_of
from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.session import BACKENDS, Session

Call = Callable[[NDArray[np.uint8]], Any]


def bare_call(target: str, engine: Any, input_name: str) -> Call:
    """The engine's own call on the model that the runtime loaded."""
    if target == "onnx":
        session = engine._session
        return lambda batch: session.run(None, {input_name: batch})[0]
    if target == "openvino":
        request = engine.model(1).create_infer_request()
        return lambda batch: request.infer({0: batch}, share_inputs=True)[0]
    raise SystemExit(f"no bare call is known for {target}; give onnx or openvino bundles")


def measure_overhead(bundle: Bundle, options: SessionOptions, pairs: int, rounds: int) -> dict[str, Any]:
    """Ratio runtime / bare at batch 1: in each of `rounds`, the median over `pairs` of calls in turn."""
    manifest = bundle.manifest
    engine = BACKENDS[manifest.target].open_engine(bundle, options)
    bare = bare_call(manifest.target, engine, manifest.inputs[0].name)
    pixels = pixels_of(bundle)
    batch = np.random.default_rng(0).integers(0, 256, (1, *pixels.crop_px, 3)).astype(np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (*pixels.resize_px, 3)).astype(np.uint8)
    with Classifier(bundle, Session(bundle, engine, options), Limits()) as classifier:

        def predict(_: NDArray[np.uint8]) -> Any:
            return list(classifier.predict(image))

        for _ in range(20):
            bare(batch)
            predict(batch)
        session = classifier.session
        runs = [_round(bare, session, batch, pairs, runtime_first=bool(i % 2)) for i in range(rounds)]
        predicted = [_round(bare, predict, batch, pairs, runtime_first=bool(i % 2)) for i in range(rounds)]
        itself = [_round(bare, bare, batch, pairs)[1] for _ in range(rounds)]
    return {
        "bundle": bundle.name,
        "target": manifest.target,
        "backbone": manifest.provenance.backbone,
        "threads": options.thread_count,
        "pairs_per_round": pairs,
        "bare_ms": spread([run[0] for run in runs]),
        "ratio": spread([run[1] for run in runs], 4),
        "ratio_of_predict": spread([run[1] for run in predicted], 4),
        "ratio_of_bare_to_itself": spread(itself, 4),
    }


def _round(
    bare: Call, runtime: Call, batch: NDArray[np.uint8], pairs: int, *, runtime_first: bool = False
) -> tuple[float, float]:
    """(median ms of the bare call, median ratio of the pairs)"""
    bare_ms, ratios = [], []
    for _ in range(pairs):
        first, second = (runtime, bare) if runtime_first else (bare, runtime)
        times = [_milliseconds(first, batch), _milliseconds(second, batch)]
        if runtime_first:
            times.reverse()
        bare_ms.append(times[0])
        ratios.append(times[1] / times[0])
    return statistics.median(bare_ms), statistics.median(ratios)


def _milliseconds(call: Call, batch: NDArray[np.uint8]) -> float:
    start = time.perf_counter_ns()
    call(batch)
    return (time.perf_counter_ns() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    options = SessionOptions(device="cpu", threads=arguments.threads)
    opened = [Bundle.open(path) for path in arguments.bundles]
    figures = [measure_overhead(bundle, options, arguments.pairs, arguments.rounds) for bundle in opened]
    for figure in figures:
        ratios = f"{figure['ratio']['median']:.4f} x, predict {figure['ratio_of_predict']['median']:.4f} x"
        print(f"{figure['bundle']}: {ratios} the bare {figure['bare_ms']['median']} ms")
    write_record(arguments.output, "edgeclf_benchmarks.records.overhead", figures)


if __name__ == "__main__":
    main()
