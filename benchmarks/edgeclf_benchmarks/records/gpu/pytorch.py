"""The pytorch target on CUDA: proofs there, and its speed beside eager, compiled and channels-last bf16 networks.

    python -m edgeclf_benchmarks.records.gpu.pytorch -o benchmarks/results/gpu/pytorch.json

All get (N, 224, 224, 3) uint8 pixels in the host's memory and give logits there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.records.gpu.checks import opened, parser_of
from edgeclf_benchmarks.records.gpu.exports import BATCHES, bench_rows, export_all, pixels, verified
from edgeclf_benchmarks.records.record import spread
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.torch_module import Builder, build_module, with_normalization
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.session import open_session

_ROUND_S, _ROUNDS = 0.4, 7


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cuda", help="cuda or cpu; never replaced by another")
    parser.add_argument("--precisions", default="fp32,fp16,bf16")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes most of the time")
    given = parser.parse_args()
    with opened(given, "pytorch") as checks:
        bundles = export_all(checks, "pytorch", tuple(given.precisions.split(",")))
        on = ("--device", given.device)
        checks.together(
            {
                f"verify {name} on {given.device}": partial(verified, checks, path, *on)
                for name, path in bundles.items()
            },
            at_once=4,
        )
        fp32 = {name: path for name, path in bundles.items() if name.endswith("fp32")}
        for name, path in fp32.items():
            checks.run(f"beside PyTorch: {name}", partial(beside, path, given.device, not given.no_compile))
        checks.run("bench", lambda: bench_rows(checks, list(fp32.values()), *on))


def beside(path: Path, device: str, compiled: bool) -> dict[str, Any]:
    """Milliseconds a batch of each way, in turns, and by how much the bundle's logits differ from eager fp32 there."""
    import torch

    bundle = Bundle.open(path)
    builder = from_json(Builder, parse_json(bundle.read("model.json")), str(path))

    def network(precision: str = "fp32") -> Any:
        from safetensors.torch import load

        module = build_module(builder)
        module.load_state_dict(load(bundle.read("model.safetensors")))
        return with_normalization(module, bundle.manifest.normalization, precision).to(device)

    def in_tf32(module: Any, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return run(module, batch)
        finally:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def run(module: Any, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = module(torch.from_numpy(batch).to(device)).float().cpu().numpy()
            return logits

    with open_session(bundle, SessionOptions(device=device)) as session:
        ways: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {
            "the bundle": session,
            "eager fp32": partial(run, network()),
            "eager fp32 in TF32": partial(in_tf32, network()),
            "eager bf16, channels last": partial(run, network("bf16").to(memory_format=torch.channels_last)),
        }
        if compiled:
            ways["compiled fp32"] = partial(run, torch.compile(network()))
            last = network("bf16").to(memory_format=torch.channels_last)
            ways["compiled bf16, channels last"] = partial(run, torch.compile(last, mode="reduce-overhead"))
        exact = _in_fp64(network(), pixels(8, 1))
        differences = {
            name: float(np.abs(way(pixels(8, 1)) - exact).max() / np.abs(exact).max()) for name, way in ways.items()
        }
        times = {f"batch {size}": _in_turns(ways, pixels(size)) for size in BATCHES}
    return {"ms": times, "relative_difference_from_fp64": differences}


def _in_fp64(module: Any, batch: NDArray[np.uint8]) -> NDArray[np.float64]:
    import torch

    module = module.cpu()
    images = torch.from_numpy(batch).double().permute(0, 3, 1, 2)
    images = images * module.scale.double() + module.shift.double()
    with torch.inference_mode():
        logits: NDArray[np.float64] = module.module.double()(images).numpy()
        return logits


def _in_turns(ways: dict[str, Any], batch: NDArray[np.uint8]) -> dict[str, Any]:
    for way in ways.values():
        for _ in range(5):
            way(batch)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < _ROUND_S / len(ways):
                way(batch)
                calls += 1
            taken[name].append((time.perf_counter() - start) / calls * 1e3)
    return {name: spread(found) for name, found in taken.items()}


if __name__ == "__main__":
    main()
