"""What this machine can run: engines with their versions and devices, what clashes, the CPU, memory and GPU."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgeclf.doctor.engine_probe import probe_engines
from edgeclf_runtime.backends.backend import Backend
from edgeclf_runtime.backends.engine import is_of_nvidia
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.installing import no_wheel
from edgeclf_runtime.machine import facts as machine
from edgeclf_runtime.machine.jetson import PowerState, power_state
from edgeclf_runtime.session import BACKENDS

_NUMPY_ALONE = {name for name, backend in BACKENDS.items() if not backend.extra}
_INT8_FEATURES = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
_BF16_FEATURES = ("amx_bf16", "avx512_bf16", "bf16")
_FP16_FEATURES = ("avx512_fp16", "asimdhp")


@dataclass(frozen=True, slots=True)
class BackendState:
    """One engine. `devices` are what it offers here; `advice` is what to do where it is not usable."""

    name: str
    state: Literal["usable", "missing", "too old", "broken", "no device"]
    version: str | None
    oldest: str | None
    devices: tuple[str, ...] = ()
    detail: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found on a machine. `cpu_limit`: the cores that a container is held to; None: no limit.

    `power` is a Jetson's power mode, clocks, rails and temperatures; None elsewhere.
    """

    edgeclf: str
    python: str
    system: str
    backends: tuple[BackendState, ...]
    conflicts: tuple[str, ...]
    telemetry_off: bool
    cpu: str
    cpu_features: tuple[str, ...]
    cpu_meaning: tuple[str, ...]
    cores: int
    cpu_limit: float | None
    memory_gib: float | None
    gpus: tuple[str, ...]
    nvidia_driver: str | None
    jetson: str | None
    power: PowerState | None
    refusal: str | None
    free_disk_gb: float

    @property
    def can_run(self) -> bool:
        """Whether an engine is usable that was installed for it; what numpy alone runs does not count."""
        usable = (state for state in self.backends if state.state == "usable" and state.name not in _NUMPY_ALONE)
        return self.refusal is None and any(usable)


def diagnose() -> Diagnosis:
    """Examines this machine. Each engine is imported in a process of its own: one that crashes is only reported."""
    probes = probe_engines([name for name, backend in BACKENDS.items() if backend.is_installed()])
    board = machine.jetson()
    features, memory = machine.cpu_features(), machine.memory_gib()
    states = tuple(_backend_state(backend, probes.get(name)) for name, backend in BACKENDS.items())
    return Diagnosis(
        edgeclf=machine.package_version("edgeclf") or "not installed",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        backends=states,
        conflicts=_conflicts(),
        telemetry_off=all(probe.get("telemetry_off", True) for probe in probes.values()),
        cpu=machine.cpu_model(),
        cpu_features=features,
        cpu_meaning=explain_features(features),
        cores=usable_cores(),
        cpu_limit=_cpu_limit(),
        memory_gib=None if memory is None else round(memory, 1),
        gpus=machine.gpus(),
        nvidia_driver=machine.nvidia_driver(),
        jetson=f"{board[0]}, L4T {board[1]}" if board else None,
        power=power_state() if board else None,
        refusal=machine.jetson_refusal(),
        free_disk_gb=round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    )


def _backend_state(backend: Backend, probe: dict[str, Any] | None) -> BackendState:
    name, install = backend.name, backend.install_line(jetson=machine.jetson() is not None)
    if probe is None:
        return BackendState(name, "missing", None, backend.oldest, detail=no_wheel(backend.extra), advice=install)
    version = machine.package_version(backend.module) or probe.get("version")
    if "error" in probe:
        again = f"pip install --force-reinstall {backend.module}"
        advice = "" if "pip install" in probe["error"] else again  # TensorRT's own error says which one to install
        return BackendState(name, "broken", version, backend.oldest, detail=probe["error"], advice=advice)
    devices = tuple(probe.get("devices", ()))
    if is_older(version or "", backend.oldest):
        upgrade = f"pip install --upgrade '{backend.module}>={backend.oldest}'"
        return BackendState(name, "too old", version, backend.oldest, devices, advice=upgrade)
    if missing := [module for module in backend.also_needed if find_spec(module) is None]:
        return BackendState(
            name, "missing", version, backend.oldest, devices, f"{', '.join(missing)} not installed", install
        )
    if not devices:
        return BackendState(name, "no device", version, backend.oldest, detail=probe.get("detail", ""))
    return BackendState(name, "usable", version, backend.oldest, devices, _detail(devices))


def _detail(devices: Sequence[str]) -> str:
    if any(map(is_of_nvidia, devices)) and machine.nvidia_driver() is None and machine.jetson() is None:
        return "built for cuda, but there is no NVIDIA driver here"
    return ""


def _conflicts() -> tuple[str, ...]:
    found = []
    for backend in BACKENDS.values():
        installed = [name for name in backend.distributions if machine.package_version(name) is not None]
        if len(installed) > 1:
            found.append(
                f"{' and '.join(installed)} are both installed and overwrite each other's files; "
                f"pip uninstall {' '.join(installed)}, then install one of them ({backend.module})"
            )
    return tuple(found)


def is_older(version: str, oldest: str) -> bool:
    """Whether `version` comes before `oldest`, by their leading numbers; what follows (rc1, +cpu) is passed over."""
    found, wanted = _numbers(version), _numbers(oldest)
    return bool(found) and found < wanted


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else []
    while numbers and numbers[-1] == 0:
        numbers.pop()  # 2024.0 is 2024
    return tuple(numbers)


def explain_features(features: Sequence[str]) -> tuple[str, ...]:
    """What a CPU's features mean for the precisions that a bundle can have; () where the system reports none."""
    if not features:
        return (
            "int8, bf16, fp16: the system does not report this CPU's instruction sets; measure with `edgeclf bench`",
        )
    int8, bf16, fp16 = (
        [feature for feature in wanted if feature in features]
        for wanted in (_INT8_FEATURES, _BF16_FEATURES, _FP16_FEATURES)
    )
    return (
        f"int8: native ({', '.join(int8)}), can pay off"
        if int8
        else "int8: no dot-product instructions, often slower than fp32",
        f"bf16: native ({', '.join(bf16)})" if bf16 else "bf16: emulated, slower than fp32",
        f"fp16: native ({', '.join(fp16)})" if fp16 else "fp16: saves space only, computed in fp32",
    )


def _cpu_limit() -> float | None:
    """Cores that the control group allows this process, if it sets a limit (cgroup v2 `cpu.max`)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return round(int(quota) / int(period), 2)
    except (OSError, ValueError):  # no control group, or "max"
        return None
