"""LiteRT against ONNX Runtime and OpenVINO on this CPU: parity, size, latency in fp32 and int8, seconds to export.

    python -m edgeclf_benchmarks.records.litert --data FOLDER -o benchmarks/results/litert.json [--networks NAME ...]

Latency does not depend on the numbers in the weights, so they are random, and int8 has a gate that everything passes;
accuracy is not measured. Calls of all bundles are taken in turn and counted in processor seconds of one thread, so that
other work on the machine lengthens none of them by much; a ratio is the median of those within a turn. A network that
the record holds already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_benchmarks.records.int8 import _some_images
from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.session import open_session

NETWORKS = ("mobilenetv3_large_100", "vit_tiny_patch16_224", "resnet18", "tf_efficientnet_lite0", "efficientnet_b0")
_EVERYTHING_PASSES = "1%"
_TURNS, _WARM_UP = 60, 5


def measure(network: str, data: Path, folder: Path) -> dict[str, Any]:
    """Of each target and precision: parity with PyTorch, bytes of the model, milliseconds, ratio to onnx fp32."""
    calibration = _some_images(data, folder / "images")
    int8 = ("--calib-data", str(calibration), "--max-drop", _EVERYTHING_PASSES)
    exports = {
        "litert fp32": _export(network, ("litert",), "fp32", (), folder),
        "onnx and openvino fp32": _export(network, ("onnx", "openvino"), "fp32", (), folder),
        "all int8": _export(network, ("onnx", "openvino", "litert"), "int8", int8, folder),
    }
    made = {Path(b["path"]).name: b for document in exports.values() for b in document["bundles"]}
    times = _times({name: folder / bundle["path"] for name, bundle in made.items()})
    base = times[f"{network}-onnx-fp32"]
    return {
        "measured_utc": now_utc(),
        "load": round(os.getloadavg()[0], 1),
        "export_cpu_s": {name: document["cpu_s"] for name, document in exports.items()},
        "bundles": {
            name.removeprefix(f"{network}-").replace("-", " "): _figures(bundle, folder, times[name], base)
            for name, bundle in made.items()
        },
    }


def _export(network: str, targets: tuple[str, ...], precision: str, options: tuple[str, ...], folder: Path) -> Any:
    """The document of one export, with the processor seconds that the whole process took."""
    wanted = [word for target in targets for word in ("-t", target)]
    source = ("-m", network, "--weights", "random", *wanted, "--precision", precision)
    command = [sys.executable, "-m", "edgeclf", "export", *source, *options, "-o", "bundles", "--json"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command[1:])} ended with {process.returncode}")
        output.seek(0)
        document: dict[str, Any] = json.load(output)
    return {**document, "cpu_s": round(usage.ru_utime + usage.ru_stime, 1)}


def _times(bundles: dict[str, Path]) -> dict[str, list[float]]:
    """Processor seconds of each call, one image, one thread, the bundles in turn."""
    random = np.random.default_rng(0)
    opened = {name: open_session(path, SessionOptions(threads=1)) for name, path in bundles.items()}
    shape = Bundle.open(next(iter(bundles.values()))).manifest.inputs[0].shape[1:]
    taken: dict[str, list[float]] = {name: [] for name in bundles}
    for turn in range(_TURNS + _WARM_UP):
        batch = random.integers(0, 256, (1, *map(int, shape)), dtype=np.uint8)
        for name, session in opened.items():
            start = time.process_time()
            session(batch)
            if turn >= _WARM_UP:
                taken[name].append(time.process_time() - start)
    for session in opened.values():
        session.close()
    return taken


def _figures(made: dict[str, Any], folder: Path, times: list[float], base: list[float]) -> dict[str, Any]:
    models = [file for file in (folder / made["path"]).iterdir() if file.name.startswith("model.")]
    return {
        "max_logit_difference_of_range": made["proof"]["comparison"]["max_relative"],
        "model_mb": round(sum(file.stat().st_size for file in models) / 1e6, 2),
        "cpu_ms": round(1e3 * statistics.median(times), 2),
        "ratio_to_onnx_fp32": round(statistics.median(a / b for a, b in zip(times, base, strict=True)), 3),
        "checks": made["checks"],
        **({"step": made["ladder"]["chosen"]} if made["ladder"] else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    kept = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {"figures": {}}
    figures = kept["figures"]
    for network in given.networks:
        if network in figures:
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures[network] = measure(network, given.data.resolve(), Path(folder))
        print(network, json.dumps(figures[network], indent=1), file=sys.stderr)
        write_record(given.output, "edgeclf_benchmarks.records.litert", figures)


if __name__ == "__main__":
    main()
