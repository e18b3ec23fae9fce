"""A bundle made on x86-64, verified and run on an emulated aarch64 machine with the wheels that a board installs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny

from edgeclf_benchmarks.records import emulated_arm
from edgeclf_benchmarks.records.emulated_arm import CPUS, TOOLS, EmulatedMachine, compare, set_up


@pytest.fixture(scope="module")
def arm(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> EmulatedMachine:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not found; apt install qemu-user-static mmdebstrap")
    return set_up(tmp_path_factory.mktemp("arm"), wheel)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny.shipped("china.jpg"), tmp_path / "china.jpg"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "litert"])
def test_a_bundle_passes_on_aarch64_and_predicts_as_here(
    target: str, arm: EmulatedMachine, photograph: Path, tmp_path: Path
) -> None:
    bundle = tiny.build(tmp_path / "bundle", target)
    found = compare(arm, bundle.path, photograph)
    assert found["machine"]["architecture"] == "aarch64"
    assert found["machine"]["cpu"] == arm.cpu.part
    assert found["verdict"] == "pass"
    assert found["decoded_bit_for_bit"] == found["golden_images"]
    assert found["predict"]["same_top5"]
    assert found["predict"]["max_probability_difference"] < 1e-4
    assert not list(tmp_path.glob("*.proofs"))


@pytest.mark.slow
def test_a_bundle_with_other_weights_fails_there(arm: EmulatedMachine, photograph: Path, tmp_path: Path) -> None:
    tiny.build(tmp_path / "bundle", "onnx")
    changed = tiny.replace_weights(tmp_path / "bundle", seed=1)
    with pytest.raises(SystemExit, match=r"verify ended with 1 on aarch64: .*fails on this machine"):
        compare(arm, changed.path, photograph)


@pytest.mark.slow
def test_torch_is_not_installed_there(arm: EmulatedMachine) -> None:
    assert arm.run("-c", "import torch").returncode == 1
    assert arm.run("-c", "import platform; print(platform.machine())").stdout == "aarch64\n"


def test_a_missing_tool_is_named_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "mmdebstrap" else f"/usr/bin/{tool}")
    with pytest.raises(SystemExit, match="not found: mmdebstrap; apt install"):
        set_up(tmp_path / "arm", Path("edgeclf.whl"))
    assert not (tmp_path / "arm").exists()


@pytest.mark.parametrize("name", CPUS)
def test_the_fake_cpuinfo_is_read_as_that_processor(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeclf_runtime.machine import facts as machine

    emulated_arm._fake_kernel_files(tmp_path, CPUS[name])
    text = (tmp_path / "proc/cpuinfo").read_text()
    monkeypatch.setattr(machine, "_read", lambda path: text)
    assert machine.cpu_model() == CPUS[name].part
    assert ("asimddp" in machine.cpu_features()) == (name == "cortex-a76")


@pytest.mark.parametrize("name", ["aarch64.json", "aarch64_litert.json"])
def test_the_record_names_what_was_emulated_and_holds_no_times(name: str, root: Path) -> None:
    text = (root / "benchmarks/results" / name).read_text()
    record = json.loads(text)
    assert "QEMU" in record["figures"]["emulated"] and "not measured" in record["figures"]["emulated"]
    assert not [word for word in ("_ms", "seconds", '_s"') if word in text]
    for processor, found in record["figures"]["processors"].items():
        for each in found:
            assert (each["verdict"], each["machine"]["cpu"]) == ("pass", CPUS[processor].part)


def test_a_run_that_fails_ends_with_its_own_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = subprocess.CompletedProcess([], 4, stdout="", stderr="error: no engine\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(SystemExit, match="edgeclf verify ended with 4 on aarch64: error: no engine"):
        EmulatedMachine(tmp_path, CPUS["cortex-a57"]).edgeclf("verify", "bundle")
