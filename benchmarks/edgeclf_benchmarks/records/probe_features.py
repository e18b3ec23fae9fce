"""Features of a linear probe on a CPU: torch, as training computes them, beside the graph that OpenVINO compiles.

    python -m edgeclf_benchmarks.records.probe_features -o benchmarks/results/probe_features.json

Networks with random weights, batches as in training, one thread; CPU time, medians of rounds that take turns.
`pays_from_images`: so many images save what compiling costs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import write_record
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

NETWORKS = (
    ("mobilenetv3_large_100", 224),
    ("tf_efficientnet_lite0", 224),
    ("tf_efficientnet_lite0", 64),
    ("resnet18", 224),
    ("vit_tiny_patch16_224", 224),
)


def measure(name: str, side_px: int, rounds: int) -> dict[str, Any]:
    import timm
    import torch

    from edgeclf.training.loop.compiled_features import WORTH_PIXELS, compiled_features
    from edgeclf.training.loop.context import EVALUATION_BATCH
    from edgeclf.training.loop.network import Network

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=10).eval().to(memory_format=torch.channels_last)
    network = Network.of(module, 10, 0.0, seed=0)
    batch = torch.randn(EVALUATION_BATCH, side_px, side_px, 3).permute(0, 3, 1, 2)
    with torch.inference_mode():
        network.features(batch)
        start = time.process_time()
        compiled = compiled_features(network, batch, WORTH_PIXELS)
        compiling_s = time.process_time() - start
        wanted, found = network.features(batch), compiled(batch)
        times = [(_cpu_ms(network.features, batch), _cpu_ms(compiled, batch)) for _ in range(rounds)]
    torch_ms, compiled_ms = (statistics.median(each) / EVALUATION_BATCH for each in zip(*times, strict=True))
    return {
        "network": name,
        "batch": EVALUATION_BATCH,
        "used_from_pixels": WORTH_PIXELS,
        "img_size_px": side_px,
        "through": "torch" if compiled == network.features else "openvino",
        "torch_cpu_ms_an_image": round(torch_ms, 2),
        "compiled_cpu_ms_an_image": round(compiled_ms, 2),
        "ratio": round(statistics.median(one / other for one, other in times), 2),
        "compiling_cpu_s": round(compiling_s, 1),
        "pays_from_images": round(1000 * compiling_s / (torch_ms - compiled_ms)) if torch_ms > compiled_ms else None,
        "largest_difference_of_largest_feature": float(f"{(found - wanted).abs().max() / wanted.abs().max():.1e}"),
    }


def _cpu_ms(features: Callable[[Any], Any], batch: Any) -> float:
    start = time.process_time()
    features(batch)
    return 1000 * (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    guard_torchvision()
    figures = []
    for name, side_px in NETWORKS:
        figures.append(measure(name, side_px, given.rounds))
        print(figures[-1])
        write_record(given.output, "edgeclf_benchmarks.records.probe_features", figures)


if __name__ == "__main__":
    main()
