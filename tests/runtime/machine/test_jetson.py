"""Power mode, clocks, rails and temperatures, read from files that are played here: an Orin Nano's and a Thor's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf_runtime.machine import facts as machine
from edgeclf_runtime.machine import jetson as power
from edgeclf_runtime.machine.jetson import Clock, clocks, clocks_locked, power_mode, power_state, rails, temperatures

MODES = """
< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ /sys/devices/platform/17000000.gpu/devfreq_dev/max_freq

< POWER_MODEL ID=0 NAME=15W >
GPU MAX_FREQ 612000000
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
CPUFREQ = "sys/devices/system/cpu/cpufreq"
ORIN_NANO = {
    "etc/nvpmodel.conf": MODES,
    "var/lib/nvpmodel/status": "pmode:0002\n",
    f"{CPUFREQ}/policy0/scaling_min_freq": "729600\n",
    f"{CPUFREQ}/policy0/scaling_max_freq": "1728000\n",
    f"{CPUFREQ}/policy4/scaling_min_freq": "729600\n",
    f"{CPUFREQ}/policy4/scaling_max_freq": "1728000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "1020000000\n",
    "sys/class/devfreq/15340000.vic/min_freq": "1\n",
    "sys/class/devfreq/15340000.vic/max_freq": "2\n",
    "sys/class/hwmon/hwmon0/name": "pwmfan\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "4984\n",
    "sys/class/hwmon/hwmon1/curr1_input": "960\n",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon1/in2_input": "4976\n",
    "sys/class/hwmon/hwmon1/curr2_input": "120\n",
    "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC\n",
    "sys/class/hwmon/hwmon1/in3_input": "4976\n",
    "sys/class/hwmon/hwmon1/curr3_input": "304\n",
    "sys/class/hwmon/hwmon1/in4_input": "4800\n",
    "sys/class/hwmon/hwmon1/curr4_input": "1384\n",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon1/in7_input": "8080\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51187\n",
    "sys/class/thermal/thermal_zone10/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone10/temp": "52250\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "",
}
THOR = {
    "sys/class/devfreq/gpu-gpc-0/min_freq": "1575000000\n",
    "sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000\n",
    "sys/class/devfreq/gpu-nvd-0/min_freq": "300000000\n",
    "sys/class/devfreq/gpu-nvd-0/max_freq": "1692000000\n",
    f"{CPUFREQ}/policy0/scaling_min_freq": "2601000\n",
    f"{CPUFREQ}/policy0/scaling_max_freq": "2601000\n",
    "sys/class/hwmon/hwmon3/name": "ina3221\n",
    "sys/class/hwmon/hwmon3/in1_label": "VDD_GPU\n",
    "sys/class/hwmon/hwmon3/in1_input": "12040\n",
    "sys/class/hwmon/hwmon3/curr1_input": "-32\n",
    "sys/class/hwmon/hwmon4/name": "ina238\n",
    "sys/class/hwmon/hwmon4/label": "VIN\n",
    "sys/class/hwmon/hwmon4/power1_input": "23125000\n",
    "sys/class/hwmon/hwmon4/in0_input": "3\n",
}


def play(root: Path, files: dict[str, str]) -> Path:
    """Writes files under `root`, each with its folders."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_an_orin_nano_is_read_whole(tmp_path: Path) -> None:
    found = power_state(play(tmp_path, ORIN_NANO))
    assert found.mode == "MAXN_SUPER (2)"
    assert found.clocks == (Clock("cpu", 729.6, 1728.0), Clock("gpu", 306.0, 1020.0))
    assert found.clocks_locked is False
    assert found.rails == pytest.approx({"VDD_IN": 4.78464, "VDD_CPU_GPU_CV": 0.59712, "VDD_SOC": 1.512704})
    assert found.temperatures == {"cpu": 51.187, "tj": 52.25}


def test_a_thor_is_read_with_its_supply_and_without_its_video_decoder(tmp_path: Path) -> None:
    found = power_state(play(tmp_path, THOR))
    assert found.clocks == (Clock("cpu", 2601.0, 2601.0), Clock("gpu", 1575.0, 1575.0))
    assert found.clocks_locked is True
    assert found.rails == pytest.approx({"VDD_GPU": -0.38528, "VIN": 23.125})


def test_a_supply_without_a_label_goes_by_its_monitor(tmp_path: Path) -> None:
    nameless = {name: text for name, text in THOR.items() if not name.endswith("hwmon4/label")}
    assert rails(play(tmp_path, nameless))["ina238"] == 23.125


def test_channels_that_hold_no_rail_are_left_out(tmp_path: Path) -> None:
    changed = {"in2_label": "NC\n", "in3_input": "\n"}
    agx = ORIN_NANO | {f"sys/class/hwmon/hwmon1/{name}": text for name, text in changed.items()}
    assert list(rails(play(tmp_path, agx))) == ["VDD_IN"]


def test_a_part_that_is_switched_off_costs_only_its_own_figure(tmp_path: Path) -> None:
    play(tmp_path, ORIN_NANO)
    for name in ("sys/class/hwmon/hwmon1/curr1_input", "sys/class/thermal/thermal_zone0/temp"):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()  # reading it fails, as with EAGAIN or ENODATA on a board
    assert list(rails(tmp_path)) == ["VDD_CPU_GPU_CV", "VDD_SOC"]
    assert temperatures(tmp_path) == {"tj": 52.25}


@pytest.mark.parametrize(
    ("status", "mode"),
    [("pmode:0000\n", "15W (0)"), ("pmode:0002 fmode:quiet\n", "MAXN_SUPER (2)"), ("pmode:0007\n", "7"), ("", None)],
)
def test_the_power_mode_has_the_name_that_the_board_gives_it(status: str, mode: str | None, tmp_path: Path) -> None:
    play(tmp_path, {"etc/nvpmodel.conf": MODES, "var/lib/nvpmodel/status": status})
    assert power_mode(tmp_path) == mode


def test_a_mode_without_a_table_is_its_number(tmp_path: Path) -> None:
    assert power_mode(play(tmp_path, {"var/lib/nvpmodel/status": "pmode:0003"})) == "3"


def test_clocks_are_locked_only_if_all_are(tmp_path: Path) -> None:
    gpu_only = {"sys/class/devfreq/17000000.gpu/min_freq": "1020000000"}
    assert clocks_locked(clocks(play(tmp_path, ORIN_NANO | gpu_only))) is False
    both = {f"{CPUFREQ}/policy{i}/scaling_min_freq": "1728000" for i in (0, 4)}
    assert clocks_locked(clocks(play(tmp_path, both))) is True


def test_groups_of_cores_with_other_ranges_are_listed_apart(tmp_path: Path) -> None:
    found = clocks(play(tmp_path, ORIN_NANO | {f"{CPUFREQ}/policy4/scaling_max_freq": "1344000"}))
    assert [clock.name for clock in found] == ["cpu", "cpu", "gpu"]


def test_nothing_is_made_up_where_nothing_can_be_read(tmp_path: Path) -> None:
    found = power_state(tmp_path)
    assert (found.mode, found.clocks_locked) == (None, None)
    assert not (found.clocks or found.rails or found.temperatures)
    assert clocks_locked(clocks(play(tmp_path, {"sys/class/devfreq/17000000.gpu/min_freq": "1"}))) is None


def test_the_facts_of_a_jetson_hold_its_power_mode_and_its_id_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, ORIN_NANO)
    monkeypatch.setattr(machine, "jetson", lambda: ("Orin", 36))
    monkeypatch.setattr(power, "power_mode", lambda: power_mode(tmp_path))
    monkeypatch.setattr(power, "clocks", lambda: clocks(tmp_path))
    facts = machine.machine_facts()
    assert (facts["power_mode"], facts["clocks"]) == ("MAXN_SUPER (2)", "free")
    assert machine.machine_id({**facts, "power_mode": "15W (0)", "clocks": "locked"}) == machine.machine_id(facts)


def test_other_machines_have_no_power_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "jetson", lambda: None)
    monkeypatch.setattr(power, "power_mode", lambda: "15W (0)")
    assert not {"power_mode", "clocks"} & set(machine.machine_facts())
