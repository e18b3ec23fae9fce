"""What distorts measurements on this machine now: load, governor, heat, battery, cores; and what to do about it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.machine.jetson import power_mode, temperatures

# What bench --strict-env fails for: the machine, not the data, distorts the figures.
ENVIRONMENT = ("battery", "governor", "load", "memory", "quota", "slowed", "threads", "throttled")
_SAMPLE_S = 0.5
BUSY_SHARE = 0.15  # of the cores, kept busy by others: above it, times are not this process's own
_LEAST_FREE_MIB = 512.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # of /proc/stat, where there is one


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that distorts figures, or limits what they show, and what to do about it.

    `about` is a short key: "load", "governor", "threads", "throttled", "battery", "affinity", "memory", "data",
    "samples", "interrupted", …; `row` the row that it concerns, None: the whole machine or report.
    """

    about: str
    found: str
    advice: str
    row: str | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the machine was doing at one moment.

    Attributes
    ----------
    load
        Processes that ran or wanted to, mean of the last minute.
    busy_cores
        Cores that other processes kept busy during a short sample, 0..all cores of the machine.
    cores, machine_cores
        Cores that this process may use, and those that the machine has.
    quota_cores
        Cores' worth of time that the control group allows (containers); None: no limit.
    governor
        The CPU's frequency governor ("performance", "schedutil", …); several joined by a comma.
    frequency_mhz
        Mean frequency of the cores now.
    throttle_events
        Times the CPU was slowed down because of heat since it was switched on (x86).
    cooling_steps
        By how many steps processors are slowed down because of heat now (ARM); fans don't count.
    temperatures_c
        Zone -> degrees Celsius.
    power_mode
        A Jetson's power mode with its number, such as "MAXN_SUPER (2)".
    on_battery
        Whether a battery is being used up.
    free_mib
        Memory that processes can have without swapping.
    """

    taken_utc: str
    load: float | None
    busy_cores: float | None
    cores: int
    machine_cores: int
    quota_cores: float | None = None
    governor: str | None = None
    frequency_mhz: float | None = None
    throttle_events: int | None = None
    cooling_steps: int | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    power_mode: str | None = None
    on_battery: bool | None = None
    free_mib: float | None = None


class OthersLoad:
    """Cores that other processes keep busy, from one call of `since_last` to the next."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._last = self._now()

    def since_last(self) -> float | None:
        """0..all cores of the machine; None: not reported by the kernel. Time that a hypervisor took counts, too."""
        (clock, own, busy), (clock_now, own_now, busy_now) = self._last, self._now()
        self._last = (clock_now, own_now, busy_now)
        if busy is None or busy_now is None or clock_now <= clock:
            return None
        return max(0.0, ((busy_now - busy) / _TICKS_PER_S - (own_now - own)) / (clock_now - clock))

    def _now(self) -> tuple[float, float, int | None]:
        return time.monotonic(), time.process_time(), _busy_ticks(self._root)


def read_conditions(root: Path = Path("/"), *, seconds: float = _SAMPLE_S) -> Conditions:
    """The machine's conditions now, read from the kernel's files under `root`; takes `seconds`."""
    others = OthersLoad(root)
    time.sleep(seconds)
    load = re.match(r"[\d.]+", _read(root / "proc/loadavg"))
    free = re.search(r"^MemAvailable:\s+(\d+)", _read(root / "proc/meminfo"), re.MULTILINE)
    events = _throttle_events(root)
    return Conditions(
        taken_utc=now_utc(),
        load=float(load[0]) if load else None,
        busy_cores=others.since_last(),
        cores=usable_cores(),
        machine_cores=os.cpu_count() or 1,
        quota_cores=_quota(root),
        governor=", ".join(sorted(set(_texts(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")))) or None,
        frequency_mhz=_frequency(root),
        throttle_events=events,
        cooling_steps=_cooling_steps(root) if events is None else None,
        temperatures_c=temperatures(root),
        power_mode=power_mode(root),
        on_battery=_on_battery(root),
        free_mib=int(free[1]) / 1024 if free else None,
    )


def cautions_before(found: Conditions, threads: Sequence[int]) -> tuple[Caution, ...]:
    """What will distort the figures, found before anything is measured with those numbers of threads."""
    cautions = []
    usable = min(found.cores, found.quota_cores or found.cores)
    if found.busy_cores is not None and found.busy_cores > BUSY_SHARE * found.cores:
        cautions.append(
            Caution("load", f"other processes keep {found.busy_cores:.1f} of {found.cores} cores busy", "stop them")
        )
    if max(threads) > found.cores:
        cautions.append(
            Caution("threads", f"{max(threads)} threads on {found.cores} cores", f"give --threads {found.cores}")
        )
    if usable < found.cores:
        cautions.append(
            Caution(
                "quota",
                f"the container may use {usable:g} cores' worth of time on {found.cores} cores",
                "lift the limit, or give fewer --threads: with more the kernel pauses the process now and then",
            )
        )
    if found.governor is not None and found.governor != "performance":
        cautions.append(
            Caution(
                "governor",
                f"the CPU's frequency governor is {found.governor}",
                "set it: sudo cpupower frequency-set -g performance (on a Jetson: sudo jetson_clocks)",
            )
        )
    if found.cooling_steps:
        cautions.append(
            Caution("throttled", f"heat slows processors down by {found.cooling_steps} steps already", "cool it")
        )
    if found.on_battery:
        cautions.append(Caution("battery", "the machine runs on its battery", "plug it in"))
    if found.free_mib is not None and found.free_mib < _LEAST_FREE_MIB:
        cautions.append(Caution("memory", f"{found.free_mib:.0f} MiB of memory are free", "stop other programs"))
    return tuple(cautions)


def cautions_after(before: Conditions, after: Conditions, rounds_busy: float | None = None) -> tuple[Caution, ...]:
    """What distorted the figures meanwhile; `rounds_busy`: cores that others kept busy, mean of the rounds."""
    cautions = []
    if before.throttle_events is not None and after.throttle_events is not None:
        events = after.throttle_events - before.throttle_events
        if events > 0:
            cautions.append(
                Caution("throttled", f"heat slowed the CPU down {events} times", "cool it, and measure again")
            )
    if before.cooling_steps == 0 and after.cooling_steps:
        steps = f"at the end heat slowed processors down by {after.cooling_steps} steps"
        cautions.append(Caution("throttled", steps, "cool it, and measure again"))
    for when, busy in (("in the rounds", rounds_busy), ("at the end", after.busy_cores)):
        if busy is not None and busy > BUSY_SHARE * after.cores and not _was_busy(before):
            found = f"{when} other processes kept {busy:.1f} of {after.cores} cores busy"
            cautions.append(Caution("load", found, "measure again"))
            break
    return tuple(cautions)


def _was_busy(found: Conditions) -> bool:
    return found.busy_cores is not None and found.busy_cores > BUSY_SHARE * found.cores


def _busy_ticks(root: Path) -> int | None:
    """Clock ticks that all cores together have worked: all but idle and waiting for disks (proc(5))."""
    found = re.match(r"cpu\s+([\d ]+)", _read(root / "proc/stat"))
    if not found:
        return None
    ticks = [int(each) for each in found[1].split()]
    return sum(ticks[:8]) - ticks[3] - ticks[4]


def _quota(root: Path) -> float | None:
    """Cores' worth of time that cgroup v2 or v1 allows; None: no limit."""
    words = _read(root / "sys/fs/cgroup/cpu.max").split()
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = (_read(root / f"sys/fs/cgroup/cpu/cpu.cfs_{each}_us").strip() for each in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _frequency(root: Path) -> float | None:
    found = [int(text) / 1000 for text in _texts(root, "sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")]
    found = found or [
        float(text) for text in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _read(root / "proc/cpuinfo"), re.M)
    ]
    return sum(found) / len(found) if found else None


def _throttle_events(root: Path) -> int | None:
    counts = _texts(root, "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
    return sum(int(text) for text in counts if text.isdigit()) if counts else None


def _cooling_steps(root: Path) -> int | None:
    """What the kernel's cooling devices do now (https://docs.kernel.org/driver-api/thermal/sysfs-api.html)."""
    slowing = [each for each in sorted(root.glob("sys/class/thermal/cooling_device*")) if not _is_fan(each)]
    states = [text for each in slowing if (text := _read(each / "cur_state").strip()).isdigit()]
    return sum(map(int, states)) if states else None


def _is_fan(cooling_device: Path) -> bool:
    """A fan cools without slowing anything down; all others (cpufreq, devfreq, …) do it by slowing."""
    return "fan" in _read(cooling_device / "type").lower()


def _on_battery(root: Path) -> bool | None:
    batteries = [each for each in root.glob("sys/class/power_supply/*") if _read(each / "type").strip() == "Battery"]
    if not batteries:
        return None
    return any(_read(each / "status").strip() == "Discharging" for each in batteries)


def _texts(root: Path, pattern: str) -> list[str]:
    return [text for path in sorted(root.glob(pattern)) if (text := _read(path).strip())]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
