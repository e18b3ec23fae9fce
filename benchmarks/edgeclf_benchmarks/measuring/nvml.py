"""What the one NVIDIA GPU of a desktop draws, from the driver's own library; no package to install.

Signatures: https://docs.nvidia.com/deploy/nvml-api/. Written from its documents; never run beside a GPU. On a Jetson
NVML tells no power: its rails do (`edgeclf_runtime/power.py`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"  # comes with the driver
_SUCCESS = 0


def gpu_watts(load: Callable[[str], Any] = ctypes.CDLL) -> Callable[[], float | None] | None:
    """A function that tells the GPU's watts now; None without a driver, or with several GPUs: which one would it be?"""
    try:
        nvml = load(_LIBRARY)
    except OSError:
        return None
    count, device = ctypes.c_uint(), ctypes.c_void_p()
    if nvml.nvmlInit_v2() != _SUCCESS or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
        return None
    if count.value != 1 or nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(device)) != _SUCCESS:
        return None

    def watts() -> float | None:
        milliwatts = ctypes.c_uint()
        told = nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts))
        return milliwatts.value / 1000 if told == _SUCCESS else None

    return None if watts() is None else watts
