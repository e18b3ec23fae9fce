"""What is wrong with this machine now: load, governor, heat, battery, cores; and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that spoils figures, or limits what they say, and what to do about it.

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
        Cores that other processes kept busy during a short look, 0..all cores of the machine.
    cores, machine_cores
        Cores that this process may use, and those that the machine has.
    governor
        The CPU's frequency governor ("performance", "schedutil", …); several joined by a comma.
    frequency_mhz
        Mean frequency of the cores now.
    throttle_events
        Times the CPU was slowed down because of heat since it was switched on (x86), or cooling steps now (ARM).
    temperatures_c
        Zone -> degrees Celsius.
    power_mode
        A Jetson's power mode, such as "MAXN" or "15W".
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
    governor: str | None = None
    frequency_mhz: float | None = None
    throttle_events: int | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    power_mode: str | None = None
    on_battery: bool | None = None
    free_mib: float | None = None
