"""Energy of an inference, where the board reports its power: a Jetson's supply rail, or an NVIDIA GPU's own figure."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeclf_runtime.machine.jetson import ROOT, rails

Watts = Callable[[], "float | None"]  # what is drawn now; None: not reported just now
_EVERY_S, _IDLE_S = 0.05, 2.0
# What a Jetson draws in all: the supply of Orin Nano and NX, of Thor; AGX Orin has no one rail, but these three inputs.
_SUPPLIES = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))


@dataclass(frozen=True, slots=True)
class Power:
    """Where the board reports it: mean watts above idle while inferring, and the energy of one image.

    `source` is the rail, or "GPU (NVML)", which leaves out the rest of the machine.
    """

    source: str
    idle_w: float
    mean_w: float
    mj_per_image: float


class Meter:
    """Measures power above idle. Idle is the mean over `idle_s` seconds when the meter is made and nothing runs.

    `gpu_only`: what runs on the CPU is not in the figure.
    """

    def __init__(self, source: str, watts: Watts, *, idle_s: float = _IDLE_S, gpu_only: bool = False) -> None:
        self.source, self.gpu_only, self._watts = source, gpu_only, watts
        with Watch(watts) as idle:
            time.sleep(idle_s)
        self.idle_w = idle.mean_w

    def watch(self) -> Watch:
        """A context manager that samples the power while its block runs."""
        return Watch(self._watts)

    def power(self, seen: Watch, images: int, seconds: float) -> Power | None:
        """The power of `images` in `seconds`; None where nothing was reported, or nothing above idle."""
        if self.idle_w is None or seen.mean_w is None or seen.mean_w <= self.idle_w:
            return None
        above = seen.mean_w - self.idle_w
        return Power(self.source, self.idle_w, above, 1000 * above * seconds / images)


class Watch:
    """Samples the power, in a thread of its own, while its block runs."""

    def __init__(self, watts: Watts) -> None:
        self._watts = watts
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="edgeclf-power", daemon=True)

    @property
    def mean_w(self) -> float | None:
        """Mean of the samples; None: nothing was reported meanwhile."""
        return sum(self._samples) / len(self._samples) if self._samples else None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            found = self._watts()
            if found is not None:
                self._samples.append(found)
            if self._done.wait(_EVERY_S):
                return


def board_meter(root: Path = ROOT, *, idle_s: float = _IDLE_S) -> Meter | None:
    """The power meter of this machine; None: it has none. Takes `idle_s`, in which nothing should run."""
    found = rails(root)
    for names in _SUPPLIES:
        if all(name in found for name in names):
            return Meter(" + ".join(names), partial(_drawn, root, names), idle_s=idle_s)
    watts = gpu_watts()
    return None if watts is None else Meter("GPU (NVML)", watts, idle_s=idle_s, gpu_only=True)


def _drawn(root: Path, names: tuple[str, ...]) -> float | None:
    found = rails(root)
    return sum(found[name] for name in names) if all(name in found for name in names) else None


_LIBRARY = "libnvidia-ml.so.1"  # comes with the driver
_SUCCESS = 0


def gpu_watts(load: Callable[[str], Any] = ctypes.CDLL) -> Callable[[], float | None] | None:
    """A function that returns the GPU's watts now; None without a driver, or with several GPUs, which is ambiguous."""
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
        status = nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts))
        return milliwatts.value / 1000 if status == _SUCCESS else None

    return None if watts() is None else watts
