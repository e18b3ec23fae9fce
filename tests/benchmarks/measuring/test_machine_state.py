"""What distorts measurements on a machine is read from the kernel's files, and reported with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeclf_benchmarks.measuring import machine_state
from edgeclf_benchmarks.measuring.machine_state import (
    ENVIRONMENT,
    Conditions,
    OthersLoad,
    cautions_after,
    cautions_before,
    read_conditions,
)

QUIET = Conditions("2026-11-23T15:04:05Z", load=0.1, busy_cores=0.0, cores=4, machine_cores=4, free_mib=4000.0)
FILES = {
    "proc/loadavg": "1.50 1.00 0.50 2/300 4242\n",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    2097152 kB\n",
    "proc/stat": "cpu  100 0 50 800 20 0 0 0 0 0\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48500\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n",
}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_conditions_are_read_from_the_kernels_files(system: Path) -> None:
    found = read_conditions(system, seconds=0.01)
    assert (found.load, found.free_mib, found.frequency_mhz) == (1.5, 2048.0, 1500.0)
    assert found.governor == "performance, schedutil"
    assert found.throttle_events == 7
    assert found.temperatures_c == {"cpu": 48.5}
    assert (found.quota_cores, found.on_battery, found.power_mode) == (1.5, True, "15W (2)")
    assert found.busy_cores == 0.0


def test_on_arm_cooling_by_slowing_processors_down_counts_and_a_fan_does_not(tmp_path: Path) -> None:
    for number, (kind, state) in enumerate([("pwm-fan", 200), ("cpufreq-cpu0", 2), ("17000000.gpu", 1)]):
        device = tmp_path / f"sys/class/thermal/cooling_device{number}"
        device.mkdir(parents=True)
        (device / "type").write_text(f"{kind}\n")
        (device / "cur_state").write_text(f"{state}\n")
    found = read_conditions(tmp_path, seconds=0.0)
    assert (found.cooling_steps, found.throttle_events) == (3, None)


def test_what_the_kernel_does_not_report_is_none(tmp_path: Path) -> None:
    found = read_conditions(tmp_path, seconds=0.0)
    assert found.load is found.busy_cores is found.governor is found.power_mode is found.on_battery is None
    assert not cautions_before(found, [1])


@pytest.mark.parametrize(
    ("changes", "threads", "about"),
    [
        ({"busy_cores": 1.5}, 4, "load"),
        ({}, 8, "threads"),
        ({"quota_cores": 1.5}, 4, "quota"),
        ({"governor": "powersave"}, 4, "governor"),
        ({"on_battery": True}, 4, "battery"),
        ({"free_mib": 100.0}, 4, "memory"),
        ({"cooling_steps": 3}, 4, "throttled"),
    ],
)
def test_each_fault_of_the_machine_is_reported_with_what_to_do(
    changes: dict[str, float], threads: int, about: str
) -> None:
    (caution,) = cautions_before(replace(QUIET, **changes), [1, threads])  # type: ignore[arg-type]
    assert caution.about == about and caution.about in ENVIRONMENT
    assert caution.found and caution.advice


def test_a_quiet_machine_with_its_governor_set_gives_no_warning() -> None:
    assert not cautions_before(replace(QUIET, governor="performance", on_battery=False), [1, 4])


def test_heat_and_load_during_the_bench_are_found_at_the_end() -> None:
    before = replace(QUIET, throttle_events=3)
    assert not cautions_after(before, before)
    (heat,) = cautions_after(before, replace(before, throttle_events=5))
    assert heat.about == "throttled" and "2 times" in heat.found
    cool = replace(QUIET, cooling_steps=0)
    (steps,) = cautions_after(cool, replace(cool, cooling_steps=2))
    assert steps.about == "throttled" and "2 steps" in steps.found
    (load,) = cautions_after(before, replace(before, busy_cores=3.0))
    assert load.about == "load"


def test_load_during_the_rounds_is_reported_once(tmp_path: Path) -> None:
    (found,) = cautions_after(QUIET, replace(QUIET, busy_cores=3.0), rounds_busy=2.0)
    assert (found.about, found.found) == ("load", "in the rounds other processes kept 2.0 of 4 cores busy")
    assert cautions_after(QUIET, QUIET, rounds_busy=0.1) == ()


def test_the_load_of_others_is_the_kernels_ticks_minus_the_processs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"monotonic": 0.0, "process_time": 0.0}
    for name in clock:
        monkeypatch.setattr(machine_state.time, name, lambda name=name: clock[name])
    stat = tmp_path / "proc/stat"
    stat.parent.mkdir()
    ticks = machine_state._TICKS_PER_S
    stat.write_text("cpu  0 0 0 800 20 0 0 0 0 0\n")
    others = OthersLoad(tmp_path)
    stat.write_text(f"cpu  {3 * ticks} 0 {ticks} 900 20 0 0 {2 * ticks} 0 0\n")
    clock.update(monotonic=2.0, process_time=1.0)
    assert others.since_last() == pytest.approx((6 - 1) / 2)  # user, system and stolen time, less one second
    clock.update(monotonic=4.0)
    assert others.since_last() == 0.0
