"""`edgeclf predict` of one image, a whole process, beside the same written by hand with the engine: CPU time in turns.

    python -m edgeclf_benchmarks.records.one_prediction BUNDLE... --image FILE -o benchmarks/results/one_prediction.json

CPU time of the process and its threads, since the clock's depends on what else the machine does. By hand means the few
lines below: Pillow, numpy, the engine with one thread, no checks; the image is resized to the input of the network.
The first turn, which may write compiled Python files, is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import spread, write_record
from edgeclf_runtime.bundle.bundle import Bundle

_START = """
import json, sys
import numpy as np
from PIL import Image
folder, file = sys.argv[1:]
with open(folder + "/manifest.json") as opened:
    manifest = json.load(opened)
height, width = manifest["inputs"][0]["shape"][1:3]
pixels = np.asarray(Image.open(file).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))[None]
"""
_ENGINES = {
    "onnx": """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(folder + "/model.onnx", options, providers=["CPUExecutionProvider"])
logits = session.run(None, {session.get_inputs()[0].name: pixels})[0][0]
""",
    "openvino": """
import openvino
settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
model = openvino.Core().compile_model(folder + "/model.xml", "CPU", settings)
logits = model(pixels)[0][0]
""",
}
_END = """
scores = np.exp(logits - logits.max())
scores /= scores.sum()
for place in np.argsort(-scores)[:5]:
    print(manifest["labels"][place], round(float(scores[place]), 3))
"""


def cpu_s(command: Sequence[str]) -> float:
    """CPU seconds of a process. Raises SystemExit where it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def by_hand_command(bundle: Bundle, image: Path, python: Path = Path(sys.executable)) -> tuple[str, ...]:
    """The command that predicts one image by hand. Raises SystemExit for a target whose engine it doesn't know."""
    target = bundle.manifest.target
    if target not in _ENGINES:
        raise SystemExit(f"{bundle.name}: nothing by hand is known for {target}; give onnx or openvino bundles")
    return (str(python), "-c", _START + _ENGINES[target] + _END, str(bundle.path), str(image))


def measure(bundle: Bundle, image: Path, turns: int) -> dict[str, Any]:
    """CPU seconds of both, and their ratio, over so many turns."""
    target, by_hand = bundle.manifest.target, by_hand_command(bundle, image)
    edgeclf = (sys.executable, "-m", "edgeclf", "predict", str(bundle.path), str(image), "--threads", "1")
    pairs = [(cpu_s(by_hand), cpu_s(edgeclf)) for _ in range(turns + 1)][1:]
    return {
        "bundle": bundle.name,
        "target": target,
        "backbone": bundle.manifest.provenance.backbone,
        "by_hand_cpu_s": spread([hand for hand, _ in pairs]),
        "edgeclf_cpu_s": spread([own for _, own in pairs]),
        "ratio": spread([own / hand for hand, own in pairs], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="a folder, of the target onnx or openvino")
    parser.add_argument("--image", type=Path, required=True, metavar="FILE")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = []
    for path in given.bundles:
        figures.append(measure(Bundle.open(path), given.image, given.turns))
        print(figures[-1], file=sys.stderr)
    write_record(given.output, "edgeclf_benchmarks.records.one_prediction", figures)


if __name__ == "__main__":
    main()
