"""Bundles of LiteRT against those of other engines on this CPU: parity, bytes of the model, time of one image.

    python -m edgeclf_benchmarks.records.litert BUNDLE... -o benchmarks/results/litert.json

The bundles' calls are taken in turn and counted in processor seconds of one thread, so that other work on the machine
lengthens none of them by much; a ratio, to the first bundle of the same backbone, is the median of those within a turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.session import Session, open_session

_TURNS, _WARM_UP = 100, 10


def measure(bundles: list[Bundle]) -> dict[str, Any]:
    """The figures of each bundle of a backbone, by its name."""
    sessions = {bundle.name: open_session(bundle, SessionOptions(threads=1)) for bundle in bundles}
    times = _times(sessions, bundles[0].manifest.inputs[0].shape[1:])
    found = {bundle.name: _figures(bundle, sessions[bundle.name], times) for bundle in bundles}
    for session in sessions.values():
        session.close()
    return {"load": round(os.getloadavg()[0], 1), "ratio_to": bundles[0].name, "bundles": found}


def _times(sessions: dict[str, Session], shape: tuple[int | str, ...]) -> dict[str, list[float]]:
    """Processor seconds of each call, one image, the bundles in turn."""
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(_TURNS + _WARM_UP):
        batch = random.integers(0, 256, (1, *map(int, shape)), dtype=np.uint8)
        for name, session in sessions.items():
            start = time.process_time()
            session(batch)
            if turn >= _WARM_UP:
                taken[name].append(time.process_time() - start)
    return taken


def _figures(bundle: Bundle, session: Session, times: dict[str, list[float]]) -> dict[str, Any]:
    proof, base = bundle.manifest.proof, next(iter(times.values()))
    ratios = [a / b for a, b in zip(times[bundle.name], base, strict=True)]
    size = sum(entry.bytes for path, entry in bundle.manifest.files.items() if path.startswith("model."))
    return {
        "max_logit_difference_of_range": None if proof is None else proof.comparison.max_relative,
        "model_mb": round(size / 1e6, 2),
        "cpu_ms": round(1e3 * statistics.median(times[bundle.name]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "engine": session.facts,
        "int8_share": (bundle.manifest.shares or {}).get("int8", 0.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    backbones: dict[str, list[Bundle]] = defaultdict(list)
    for path in given.bundles:
        bundle = Bundle.open(path)
        backbones[bundle.manifest.provenance.backbone].append(bundle)
    figures = {backbone: measure(bundles) for backbone, bundles in backbones.items()}
    for backbone, found in figures.items():
        for name, each in found["bundles"].items():
            print(f"{backbone}, {name}: {each['cpu_ms']} ms, {each['ratio']} x, {each['model_mb']} MB")
    write_record(given.output, "edgeclf_benchmarks.records.litert", figures)


if __name__ == "__main__":
    main()
