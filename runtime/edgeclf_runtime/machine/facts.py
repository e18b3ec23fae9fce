"""Facts of the machine that a proof was made on, read from the kernel and the installed packages; nothing is run."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from edgeclf_runtime.capacity import memory_bytes, usable_cores

# What decides how fast, and how exactly, a CPU multiplies: names as the kernel prints them.
_FEATURES: tuple[str, ...] = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
)
_FEATURES += ("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve")
_PASSING = ("clocks", "cores", "memory_gib", "power_mode", "python", "remarks", "streams", "system", "threads")
_OLDEST_L4T = 36  # JetPack 6


def now_utc() -> str:
    """The time as 2026-11-23T15:04:05Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def package_version(name: str) -> str | None:
    """The installed version of a distribution, without importing it; None: not installed. Looked up once a process."""
    for folder in sys.path:  # in the order in which importlib.metadata looks, whose import brings the whole of `email`
        place = _metadata_in(folder).get(_normalized(name))
        if place and (found := re.search(r"^Version: *(\S+)", _read(f"{place}/METADATA"), re.MULTILINE)):
            return found[1]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def _metadata_in(folder: str) -> dict[str, str]:
    """Normalized name -> folder of the metadata of what is installed in a folder of the path."""
    try:
        entries = [entry for entry in os.listdir(folder or ".") if entry.endswith(".dist-info")]
    except OSError:  # there is no such folder, or it is a ZIP
        return {}
    return {_normalized(entry.partition("-")[0]): os.path.join(folder, entry) for entry in reversed(entries)}


def _normalized(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()


def cpu_model() -> str:
    for key in ("model name", "Model", "CPU part"):
        if found := re.search(rf"^{key}\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or "unknown"


def cpu_features() -> tuple[str, ...]:
    """Those features of this CPU that matter for inference, in a fixed order."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    present = set(found[1].split()) if found else set()
    return tuple(feature for feature in _FEATURES if feature in present)


def memory_gib() -> float | None:
    """None: the system doesn't report it."""
    found = memory_bytes()
    return None if found is None else found / 2**30


def whole_memory_gib() -> str:
    """In whole GiB, as facts of machines hold it; "": the system doesn't report it."""
    found = memory_gib()
    return "" if found is None else f"{found:.0f}"


def nvidia_driver() -> str | None:
    """Version of the NVIDIA kernel driver; None: there is none."""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", _read("/proc/driver/nvidia/version"))
    return found[1] if found else None


def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that the kernel driver lists."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if found := re.search(r"^Model:\s*(.+)$", _read(path), re.MULTILINE):
            names.append(found[1].strip())
    return tuple(names)


def jetson() -> tuple[str, int] | None:
    """(board, L4T major release) of an NVIDIA Jetson, None elsewhere. L4T 36 is JetPack 6, 38 is JetPack 7."""
    found = re.search(r"#\s*R(\d+)", _read("/etc/nv_tegra_release"))
    if not found:
        return None
    return _read("/proc/device-tree/model").strip("\0\n ") or "Jetson", int(found[1])


def jetson_refusal() -> str | None:
    """One sentence where the JetPack is too old for edgeclf, else None."""
    board = jetson()
    if board is None or board[1] >= _OLDEST_L4T:
        return None
    return f"{board[0]} runs L4T {board[1]} (JetPack 5 or older), edgeclf needs JetPack 6: flash a newer one"


def machine_facts() -> dict[str, str]:
    """This machine, to distinguish its proofs: hardware, system, Python and Pillow. No host or user name."""
    board = jetson()
    facts = {
        "cpu": cpu_model(),
        "cpu_features": " ".join(cpu_features()),
        "architecture": platform.machine(),
        "cores": str(usable_cores()),
        "memory_gib": whole_memory_gib(),
        "gpu": ", ".join(gpus()),
        **(_board_facts(board) if board else {}),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": package_version("numpy") or "",
        "pillow": package_version("pillow") or "",
        "edgeclf": package_version("edgeclf") or "",
    }
    return {key: value for key, value in facts.items() if value}


def _board_facts(board: tuple[str, int]) -> dict[str, str]:
    from edgeclf_runtime.machine import jetson as power

    locked = power.clocks_locked(power.clocks())
    return {
        "jetson": f"{board[0]}, L4T {board[1]}",
        "power_mode": power.power_mode() or "",
        "clocks": "" if locked is None else "locked" if locked else "free",
    }


def machine_id(facts: dict[str, str]) -> str:
    """Twelve hexadecimal digits that stay the same while what can change outputs does: not threads, nor the kernel."""
    lasting = sorted((key, value) for key, value in facts.items() if key not in _PASSING)
    return hashlib.sha256(repr(lasting).encode()).hexdigest()[:12]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
