"""Training steps on a CPU in fp32 and bf16, as PyTorch runs them and compiled: CPU time of a step, in turns.

    python -m edgeclf_benchmarks.records.compiled_steps -o benchmarks/results/compiled_steps.json

One thread, random weights and noise, so nothing but the step is timed: forward, loss, backward, AdamW. Each way has a
copy of the network of its own; a ratio is that of one round. `compiling_cpu_s` is what the first two steps of a
compiled network take beyond two later ones, the C++ compiler's time included; a training pays it once.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import spread, write_record

NETWORKS = ("tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224")
WAYS = {  # name -> (bf16, compiled)
    "fp32": (False, False),
    "bf16": (True, False),
    "fp32, compiled": (False, True),
    "bf16, compiled": (True, True),
}
_CLASSES = 10


def measure(name: str, side: int, batch: int, rounds: int) -> dict[str, Any]:
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=_CLASSES, **({"img_size": side} if name.startswith("vit") else {}))
    images, labels = torch.randn(batch, 3, side, side), torch.randint(_CLASSES, (batch,))
    if not name.startswith("vit"):
        network, images = (each.to(memory_format=torch.channels_last) for each in (network, images))
    steps = {way: step_of(copy.deepcopy(network), images, labels, *how) for way, how in WAYS.items()}
    first = {way: cpu_seconds(step) + cpu_seconds(step) for way, step in steps.items()}
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, step in steps.items():
            taken[way].append(cpu_seconds(step))
        print(name, {way: round(found[-1], 2) for way, found in taken.items()}, file=sys.stderr)
    return {
        "network": name,
        "img_size_px": side,
        "batch_size": batch,
        "cpu_s_a_step": {way: spread(found) for way, found in taken.items()},
        "times_faster_than_fp32": {
            way: spread([plain / each for plain, each in zip(taken["fp32"], found, strict=True)], 2)
            for way, found in taken.items()
            if way != "fp32"
        },
        "compiling_cpu_s": {
            way: round(first[way] - 2 * min(taken[way]), 1) for way, (_, compiled) in WAYS.items() if compiled
        },
    }


def step_of(network: Any, images: Any, labels: Any, bf16: bool, compiled: bool) -> Callable[[], None]:
    """A training step of this network."""
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    forward = torch.compile(network) if compiled else network

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def cpu_seconds(step: Callable[[], None]) -> float:
    """Of this process and of those that it has waited for: the C++ compiler."""
    before = os.times()
    step()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:  # else a network that was compiled at another time costs nothing
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        import torch

        from edgeclf_runtime.backends.torchvision_guard import guard_torchvision

        guard_torchvision()
        torch.set_num_threads(1)
        found = [measure(name, given.img_size, given.batch_size, given.rounds) for name in given.networks]
    write_record(given.output, "edgeclf_benchmarks.records.compiled_steps", {"threads": 1, "networks": found})


if __name__ == "__main__":
    main()
