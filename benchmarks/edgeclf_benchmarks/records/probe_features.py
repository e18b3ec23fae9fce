"""Features of a linear probe on a CPU: torch, as training computes them, beside the graph that OpenVINO compiles.

    python -m edgeclf_benchmarks.records.probe_features -o benchmarks/results/probe_features.json

Networks with random weights, batches as in training, one thread; CPU time, medians of rounds that take turns.
`pays_from_images`: so many images save what compiling costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import write_record

NETWORKS = (
    ("mobilenetv3_large_100", 224),
    ("tf_efficientnet_lite0", 224),
    ("tf_efficientnet_lite0", 64),
    ("resnet18", 224),
    ("vit_tiny_patch16_224", 224),
)
_MEASURE = """
import json, sys, time
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
guard_torchvision()
import timm, torch
from edgeclf.training.loop.compiled_features import WORTH_PIXELS, compiled_features
from edgeclf.training.loop.context import EVALUATION_BATCH
from edgeclf.training.loop.network import Network

name, side_px, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
torch.manual_seed(0)
module = timm.create_model(name, num_classes=10).eval().to(memory_format=torch.channels_last)
network = Network.of(module, 10, 0.0, seed=0)
batch = torch.randn(EVALUATION_BATCH, side_px, side_px, 3).permute(0, 3, 1, 2)

def cpu_s(compute):
    start = time.process_time()
    return compute(), time.process_time() - start

with torch.inference_mode():
    wanted = network.features(batch)
    compiled, compiling_s = cpu_s(lambda: compiled_features(network, batch, WORTH_PIXELS))
    off = float((compiled(batch) - wanted).abs().max() / wanted.abs().max())
    times = [[cpu_s(lambda: features(batch))[1] for features in (network.features, compiled)] for _ in range(rounds)]
through = "torch" if compiled == network.features else "openvino"
print(json.dumps([EVALUATION_BATCH, WORTH_PIXELS, through, compiling_s, off, times]))
"""


def measure(name: str, side_px: int, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-c", _MEASURE, name, str(side_px), str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    batch, worth_pixels, through, compiling_s, off, times = json.loads(done.stdout.splitlines()[-1])
    torch_s, compiled_s = (statistics.median(each) / batch for each in zip(*times, strict=True))
    return {
        "network": name,
        "img_size_px": side_px,
        "batch": batch,
        "used_from_pixels": worth_pixels,
        "through": through,
        "torch_cpu_ms_an_image": round(1000 * torch_s, 2),
        "compiled_cpu_ms_an_image": round(1000 * compiled_s, 2),
        "ratio": round(statistics.median(one / other for one, other in times), 2),
        "compiling_cpu_s": round(compiling_s, 1),
        "pays_from_images": round(compiling_s / (torch_s - compiled_s)) if torch_s > compiled_s else None,
        "largest_difference_of_largest_feature": float(f"{off:.1e}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    figures = []
    for name, side_px in NETWORKS:
        figures.append(measure(name, side_px, given.rounds))
        print(figures[-1])
        write_record(given.output, "edgeclf_benchmarks.records.probe_features", figures)


if __name__ == "__main__":
    main()
