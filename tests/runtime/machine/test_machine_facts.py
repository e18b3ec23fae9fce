"""Facts of the machine, read from kernel files that the tests write: Jetsons of three generations, CPUs, GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf_runtime.machine import facts as machine

ORIN = "NVIDIA Jetson Orin Nano Developer Kit\0"
RELEASES = {
    35: "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 2023\n",
    36: "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n",
    38: "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 2025\n",
}


def play(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(machine, "_read", lambda path: files.get(str(path), ""))


@pytest.mark.parametrize("release", RELEASES)
def test_the_release_of_a_jetson_is_read(release: int, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {"/etc/nv_tegra_release": RELEASES[release], "/proc/device-tree/model": ORIN})
    assert machine.jetson() == ("NVIDIA Jetson Orin Nano Developer Kit", release)
    assert machine.machine_facts()["jetson"] == f"NVIDIA Jetson Orin Nano Developer Kit, L4T {release}"


def test_jetpack_5_is_refused_in_one_sentence_and_newer_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {"/etc/nv_tegra_release": RELEASES[35], "/proc/device-tree/model": ORIN})
    refusal = machine.jetson_refusal()
    assert refusal is not None and "\n" not in refusal
    assert "L4T 35" in refusal and "JetPack 6" in refusal
    for release in (36, 38):
        play(monkeypatch, {"/etc/nv_tegra_release": RELEASES[release]})
        assert machine.jetson_refusal() is None


@pytest.mark.parametrize("text", ["", "garbage", "# release unknown"])
def test_other_machines_are_no_jetson(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {"/etc/nv_tegra_release": text})
    assert machine.jetson() is None
    assert machine.jetson_refusal() is None
    assert "jetson" not in machine.machine_facts()


def test_a_jetson_without_a_device_tree_has_a_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, {"/etc/nv_tegra_release": RELEASES[36]})
    assert machine.jetson() == ("Jetson", 36)


def test_x86_and_arm_name_their_model_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    x86 = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) @ 2.60GHz\nflags\t\t: fpu avx2 avx512f amx_bf16 avx512_vnni\n"
    play(monkeypatch, {"/proc/cpuinfo": x86})
    assert machine.cpu_model() == "Intel(R) Xeon(R) @ 2.60GHz"
    assert machine.cpu_features() == ("avx2", "avx512f", "avx512_vnni", "amx_bf16")
    arm = "processor\t: 0\nFeatures\t: fp asimd fphp asimdhp asimddp\nCPU part\t: 0xd42\n"
    play(monkeypatch, {"/proc/cpuinfo": arm})
    assert (machine.cpu_model(), machine.cpu_features()) == ("0xd42", ("asimd", "fphp", "asimdhp", "asimddp"))


def test_the_driver_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    play(monkeypatch, {"/proc/driver/nvidia/version": line})
    assert machine.nvidia_driver() == "550.54.15"
    play(monkeypatch, {})
    assert machine.nvidia_driver() is None


def test_the_id_stays_the_same_while_the_facts_do() -> None:
    facts = machine.machine_facts()
    assert machine.machine_id(facts) == machine.machine_id(dict(reversed(facts.items())))
    assert machine.machine_id(machine.machine_facts()) == machine.machine_id(facts)
    assert machine.machine_id({**facts, "pillow": "0"}) != machine.machine_id(facts)
    assert machine.machine_id({"a": "b"}) == "64d9f06a25e4"


def test_facts_hold_no_name_of_host_user_or_folder() -> None:
    text = " ".join(machine.machine_facts().values())
    assert Path.home().name not in text.split()
    assert "/home" not in text


def test_unreadable_and_missing_files_are_empty(tmp_path: Path) -> None:
    assert machine._read(tmp_path / "missing") == ""
    assert machine._read(tmp_path) == ""


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert machine.package_version("numpy")
    assert machine.package_version("no-such-package-anywhere") is None


def test_the_time_is_utc_to_the_second() -> None:
    assert machine.now_utc().endswith("Z") and len(machine.now_utc()) == 20
