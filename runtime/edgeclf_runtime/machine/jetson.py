"""Power mode, clocks, rails and temperatures of an NVIDIA Jetson, read from its files; no tool, no root, no change.

Where they lie on JetPack 6 (Orin) and JetPack 7 (Orin, Thor):

- power mode: its number in /var/lib/nvpmodel/status, its name in /etc/nvpmodel.conf; both are nvpmodel's own files.
- clocks: /sys/devices/system/cpu/cpufreq/policy*/scaling_min_freq and scaling_max_freq in kHz; min_freq and max_freq in
  Hz under /sys/class/devfreq/17000000.gpu on Orin, /sys/class/devfreq/gpu-gpc-0 on Thor (as jetson-stats and others
  read them). `jetson_clocks` raises the lower bound to the upper one, the highest that the power mode allows.
- rails: INA3221 monitors under /sys/class/hwmon (https://docs.kernel.org/hwmon/ina3221.html: labels, mV and mA), and on
  Thor an INA238 at the supply (https://docs.kernel.org/hwmon/ina238.html: power1_input in µW).
- temperatures: /sys/class/thermal/thermal_zone*, type and temp in thousandths of a degree
  (https://docs.kernel.org/driver-api/thermal/sysfs-api.html).

Written from documents and public code; never run on a board.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
# Orin, Orin by its chip's name, Thor; not gpu-nvd-*, Thor's video decoder
_GPU_CLOCK = re.compile(r"[0-9a-f]+\.gpu|[0-9a-f]+\.ga10b|gpu-gpc-\d+")
_UNCONNECTED = "NC"  # the label of a channel without a rail


@dataclass(frozen=True, slots=True)
class Clock:
    """The range in which the kernel may choose a clock, in MHz; locked where there is nothing to choose."""

    name: str
    min_mhz: float
    max_mhz: float

    @property
    def locked(self) -> bool:
        return self.min_mhz == self.max_mhz


@dataclass(frozen=True, slots=True)
class PowerState:
    """A Jetson at one moment. `mode` and `clocks_locked` are None where files can't be read, as in some containers.

    `rails` in watts, `temperatures` in °C, both by the board's own names.
    """

    mode: str | None
    clocks_locked: bool | None
    clocks: tuple[Clock, ...]
    rails: dict[str, float]
    temperatures: dict[str, float]


def power_state(root: Path = ROOT) -> PowerState:
    """The state now of the Jetson whose files lie under `root`."""
    found = clocks(root)
    return PowerState(power_mode(root), clocks_locked(found), found, rails(root), temperatures(root))


def power_mode(root: Path = ROOT) -> str | None:
    """The power mode, as "MAXN_SUPER (2)"; its number alone where no table names it, None where none was set."""
    status = re.search(r"pmode:(\d+)", _read(root / "var/lib/nvpmodel/status") or "")
    if status is None:
        return None
    number = int(status[1])
    table = _read(root / "etc/nvpmodel.conf") or ""
    names = dict(re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", table, re.MULTILINE))
    return f"{names[str(number)]} ({number})" if str(number) in names else str(number)


def clocks(root: Path = ROOT) -> tuple[Clock, ...]:
    """The clocks "cpu" and "gpu"; one of each, unless groups of cores have ranges of their own."""
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"), key=_number)
    found = [_clock("cpu", policy, "scaling_", 1e3) for policy in policies]
    devices = sorted((root / "sys/class/devfreq").glob("*"))
    found += [_clock("gpu", device, "", 1e6) for device in devices if _GPU_CLOCK.fullmatch(device.name)]
    return tuple(dict.fromkeys(clock for clock in found if clock is not None))


def clocks_locked(found: tuple[Clock, ...]) -> bool | None:
    """Whether CPU and GPU both run at fixed clocks, as after `jetson_clocks`; None: one of them can't be read."""
    complete = {clock.name for clock in found} == {"cpu", "gpu"}
    return all(clock.locked for clock in found) if complete else None


def rails(root: Path = ROOT) -> dict[str, float]:
    """Watts drawn now, by rail. Never to be summed: VDD_IN (Orin Nano, NX) and VIN (Thor) hold the others.

    A monitor refreshes its figure a few times a second at most, and near zero it can read below zero.
    """
    found: dict[str, float] = {}
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*"), key=_number):
        kind = (_read(monitor / "name") or "").strip()
        if kind == "ina3221":
            found |= _three_rails(monitor)
        elif kind == "ina238" and (microwatts := _integer(monitor / "power1_input")) is not None:
            found[(_read(monitor / "label") or "").strip() or kind] = microwatts / 1e6
    return found


def _three_rails(monitor: Path) -> dict[str, float]:
    found = {}
    for channel in (1, 2, 3):  # in4 to in7 are voltages across its shunts, curr4 is a sum
        label = (_read(monitor / f"in{channel}_label") or "").strip()
        millivolts = _integer(monitor / f"in{channel}_input")
        milliamperes = _integer(monitor / f"curr{channel}_input")
        if label and label != _UNCONNECTED and millivolts is not None and milliamperes is not None:
            found[label] = millivolts * milliamperes / 1e6
    return found


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Degrees Celsius by thermal zone, as {"tj": 52.3}; zones of parts that are switched off give no value."""
    found = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_number):
        name, thousandths = (_read(zone / "type") or "").strip(), _integer(zone / "temp")
        if name and thousandths is not None:
            found[name.removesuffix("-thermal")] = thousandths / 1000
    return found


def _clock(name: str, folder: Path, prefix: str, per_mhz: float) -> Clock | None:
    lowest, highest = (_integer(folder / f"{prefix}{end}_freq") for end in ("min", "max"))
    return None if lowest is None or highest is None else Clock(name, lowest / per_mhz, highest / per_mhz)


def _number(path: Path) -> int:
    """The number that a name ends with: hwmon10 comes after hwmon9."""
    found = re.search(r"\d+$", path.name)
    return int(found[0]) if found else -1


def _integer(path: Path) -> int | None:
    text = (_read(path) or "").strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # absent, not ours to read, or a part without power (EAGAIN, ENODATA)
        return None
