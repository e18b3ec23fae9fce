"""How near an OpenVINO bundle comes to what the processor can do, and where its time goes."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import HINTS, MODEL, compile_settings, openvino_core
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.bundle.bundle import Bundle

_SIDE = 1024  # of a matrix product that fills the multipliers and fits the caches
_CALLS = 60


def count_gmacs(network: str) -> float:
    """10^9 multiply-adds of one image in timm's network, as torch counts convolutions and products."""
    guard_torchvision()
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    module = timm.create_model(network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *module.default_cfg["input_size"]))
    gmacs: float = counter.get_total_flops() / 2e9
    return round(gmacs, 3)


def matrix_product_rates() -> dict[str, float]:
    """10^9 multiply-adds a second of one large oneDNN product, one thread: no network can be computed faster.

    int8 by torch's own operator: its public quantized ones add scales and checks to the product.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = torch.randint(-128, 127, (_SIDE, _SIDE), dtype=torch.int8)
        real = torch.randn(_SIDE, _SIDE)
        seconds = {
            "int8": _median_s(lambda: torch._int_mm(whole, whole)),
            "fp32": _median_s(lambda: real @ real),
        }
    finally:
        torch.set_num_threads(threads)
    return {precision: round(_SIDE**3 / each / 1e9, 1) for precision, each in seconds.items()}


def time_by_kernel(path: Path) -> list[dict[str, Any]]:
    """Milliseconds of one image in each kind of OpenVINO's kernels, one thread, the costliest first."""
    bundle = Bundle.open(path)
    core = openvino_core()
    network = core.read_model(bundle.path / MODEL)
    entry = bundle.manifest.inputs[0]
    shape = (1, *(size for size in entry.shape[1:] if isinstance(size, int)))
    image = np.random.default_rng(0).integers(0, 256, shape).astype(entry.dtype)
    network.reshape(image.shape)
    settings = compile_settings(SessionOptions(device="cpu", threads=1), HINTS[bundle.manifest.compute_precision])
    request = core.compile_model(network, "CPU", {**settings, "PERF_COUNT": True}).create_infer_request()
    seen: dict[tuple[str, str], list[float]] = {}
    count: Counter[tuple[str, str]] = Counter()
    for _ in range(_CALLS):
        request.infer({0: image})
        spent: Counter[tuple[str, str]] = Counter()
        count.clear()
        for node in request.get_profiling_info():
            if milliseconds := node.real_time.total_seconds() * 1e3:
                spent[node.node_type, node.exec_type] += milliseconds
                count[node.node_type, node.exec_type] += 1
        for kind, milliseconds in spent.items():
            seen.setdefault(kind, []).append(milliseconds)
    medians = {kind: statistics.median(each) for kind, each in seen.items()}
    return [
        {"operation": kind[0], "kernel": kind[1], "nodes": count[kind], "ms": round(medians[kind], 3)}
        for kind in sorted(medians, key=lambda kind: -medians[kind])
        if medians[kind] >= 0.02
    ]


def _median_s(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)
