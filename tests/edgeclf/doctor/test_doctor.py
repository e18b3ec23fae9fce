"""`edgeclf doctor`: what this machine can run, what is missing, and what breaks."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_cuda import FakeCudart
from fake_gpu import FakeGpu

from edgeclf import cli
from edgeclf.doctor import doctor
from edgeclf.doctor import engine_probe as engines
from edgeclf_runtime.installing import pip_install
from edgeclf_runtime.machine import facts as machine
from edgeclf_runtime.machine.jetson import Clock, PowerState
from edgeclf_runtime.session import BACKENDS

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def test_every_backend_of_the_runtime_is_diagnosed(edgeclf: Run) -> None:
    done = edgeclf("doctor", "--json")
    read = json.loads(done.stdout)
    assert (read["schema"], read["verb"]) == (1, "doctor")
    states = {state["name"]: state for state in read["backends"]}
    for name, backend in BACKENDS.items():
        if name != "tensorrt" and importlib.util.find_spec(backend.module) is None:
            assert states[name]["state"] == "missing" and "pip install" in states[name]["advice"]
    assert all(states[name]["state"] == "usable" for name, backend in BACKENDS.items() if backend.module == "numpy")
    assert read["telemetry_off"] is True
    assert done.returncode == (0 if read["can_run"] else 4)


@pytest.fixture
def diagnosis() -> doctor.Diagnosis:
    """A machine with one engine of each state."""
    return doctor.Diagnosis(
        edgeclf="0.1.0",
        python="3.10.12",
        system="Linux 5.15 aarch64",
        backends=(
            doctor.BackendState("onnx", "usable", "1.20", "1.18", ("cpu",)),
            doctor.BackendState("openvino", "missing", None, "2024.0", advice="pip install 'edgeclf[openvino]'"),
            doctor.BackendState("pytorch", "too old", "2.0", "2.4", advice="pip install --upgrade 'torch>=2.4'"),
            doctor.BackendState("other", "broken", "1", "1", detail="its import crashes (SIGILL)"),
        ),
        conflicts=("a and b are both installed",),
        telemetry_off=True,
        cpu="A [red] processor\x1b[31m",
        cpu_features=("avx2",),
        cpu_meaning=doctor.explain_features(("avx2",)),
        cores=16,
        cpu_limit=2.0,
        memory_gib=8.0,
        gpus=(),
        nvidia_driver=None,
        jetson=None,
        power=None,
        refusal=None,
        free_disk_gb=1.5,
    )


def _doctor(found: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(doctor, "diagnose", lambda: found)
    return cli.run(["doctor"])


def test_the_table_says_what_is_wrong_and_how_to_fix_it(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor(diagnosis, monkeypatch) == 0
    shown = capsys.readouterr().out
    for words in (
        "✓ usable",
        "✗ missing",
        "pip install 'edgeclf[openvino]'",
        "2.0 (needs 2.4)",
        "crashes (SIGILL)",
        "both installed",
        "A [red] processor\\x1b[31m",
        "give --threads 2",
        "no NVIDIA GPU",
    ):
        assert words in shown


def test_a_jetson_shows_its_power_as_in_the_readme(
    diagnosis: doctor.Diagnosis, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clocks = (Clock("cpu", 729.6, 1344.0), Clock("gpu", 306.0, 918.0))
    rails = {"VDD_IN": 4.78464, "VDD_CPU_GPU_CV": 0.59712, "VDD_SOC": 1.512704}
    power = PowerState("25W (1)", False, clocks, rails, {"cpu": 51.187, "tj": 52.25})
    assert _doctor(replace(diagnosis, jetson="Orin, L4T 36", power=power), monkeypatch) == 0
    shown = " ".join(capsys.readouterr().out.split())
    (example,) = re.findall(
        r"^```\n(power mode .*?)```", (root / "docs" / "jetson.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert " ".join(example.split()) in shown


def test_locked_clocks_are_one_figure(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = PowerState("MAXN (0)", True, (Clock("cpu", 2601, 2601), Clock("gpu", 1575, 1575)), {}, {})
    assert _doctor(replace(diagnosis, jetson="Thor, L4T 38", power=locked), monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "cpu 2601, gpu 1575 MHz" in shown and "sudo" not in shown


def test_a_jetson_that_shows_nothing_of_its_power_says_so(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = PowerState(None, None, (), {}, {})
    assert _doctor(replace(diagnosis, jetson="Orin, L4T 36", power=nothing), monkeypatch) == 0
    assert capsys.readouterr().out.count("n/a") == 4


def test_other_machines_show_nothing_of_it(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor(diagnosis, monkeypatch) == 0
    assert "power mode" not in capsys.readouterr().out


def test_without_an_engine_the_exit_code_is_4(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = doctor.BackendState("reference", "usable", "2.0", "1.24", ("cpu",))
    nothing = replace(diagnosis, backends=(reference, *diagnosis.backends[1:]))
    assert _doctor(nothing, monkeypatch) == 4
    assert pip_install("onnx") in capsys.readouterr().err


def test_an_old_jetpack_is_refused(
    diagnosis: doctor.Diagnosis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _doctor(replace(diagnosis, refusal="too old a JetPack"), monkeypatch) == 4
    assert "too old a JetPack" in capsys.readouterr().err


def _state(probe: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch, version: str | None) -> doctor.BackendState:
    monkeypatch.setattr(machine, "package_version", lambda name: version)
    return doctor._backend_state(BACKENDS["onnx"], probe)


def test_states_follow_from_what_an_engine_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _state(None, monkeypatch, None).state == "missing"
    old = _state({"version": "1.9.1", "devices": ["cpu"]}, monkeypatch, "1.9.1")
    assert (old.state, old.advice) == ("too old", "pip install --upgrade 'onnxruntime>=1.18'")
    broken = _state({"error": "its import crashes (SIGILL)"}, monkeypatch, "1.20.0")
    assert (broken.state, broken.detail) == ("broken", "its import crashes (SIGILL)")
    assert _state({"version": "1.20.0", "devices": ["cpu"]}, monkeypatch, None).version == "1.20.0"


def test_a_cuda_build_without_a_driver_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "nvidia_driver", lambda: None)
    assert "no NVIDIA driver" in _state({"devices": ["cpu", "cuda"]}, monkeypatch, "1.20.0").detail


def test_two_onnxruntimes_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime": "1.20.0", "onnxruntime-gpu": "1.20.0"}
    monkeypatch.setattr(machine, "package_version", installed.get)
    (conflict,) = doctor._conflicts()
    assert "onnxruntime and onnxruntime-gpu are both installed" in conflict


@pytest.mark.parametrize(
    ("version", "oldest", "older"),
    [
        ("1.18.0", "1.18", False),
        ("1.9", "1.18", True),
        ("2024", "2024.0", False),
        ("2.13.0+cpu", "2.4", False),
        ("1.18rc1", "1.18", False),
        ("2023.3.0-13775-ceeafaf64f3", "2024.0", True),
        ("", "1.18", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, oldest: str, older: bool) -> None:
    assert doctor.is_older(version, oldest) is older


def test_features_are_explained() -> None:
    assert "often slower" in doctor.explain_features(("avx2",))[0]
    assert "can pay off" in doctor.explain_features(("avx512_vnni",))[0]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashes (SIGILL)"),
        ("import os; os._exit(3)", "exit code 3"),
        ("raise ImportError('libcudart.so.12: no such\\nfile')", "libcudart.so.12: no such file"),
    ],
)
def test_an_engine_that_crashes_is_only_reported(
    script: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text(script)
    monkeypatch.syspath_prepend(tmp_path)
    assert found in engines.probe_engines(["onnx"])["onnx"]["error"]


def test_a_module_in_the_folder_one_stands_in_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert "working folder" not in engines.probe_engines(["onnx"])["onnx"].get("error", "")


def test_tensorrt_is_not_started_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeGpu(FakeCudart(gpus=0))
    monkeypatch.setattr("edgeclf_runtime.backends.tensorrt.backend.open_cuda", lambda: fake.cuda)
    monkeypatch.setattr(
        "edgeclf_runtime.backends.tensorrt.backend.import_tensorrt", lambda: pytest.fail("it was imported")
    )
    engines.probe("tensorrt")
    found = json.loads(capsys.readouterr().out)
    assert (found["devices"], found["detail"]) == ([], "there is no NVIDIA GPU with its driver here")
    assert fake.cudart.calls == ["cudaGetDeviceCount"]
    state = doctor._backend_state(BACKENDS["tensorrt"], {**found, "version": "10.3.0"})
    assert (state.state, state.detail) == ("no device", "there is no NVIDIA GPU with its driver here")


def test_tensorrt_on_a_gpu_is_usable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeGpu()
    monkeypatch.setattr("edgeclf_runtime.backends.tensorrt.backend.open_cuda", lambda: fake.cuda)
    monkeypatch.setattr("edgeclf_runtime.backends.tensorrt.backend.import_tensorrt", lambda: fake.library)
    engines.probe("tensorrt")
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["devices"]) == ("10.3.0", ["cuda"])


def test_on_a_jetson_tensorrt_comes_from_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "jetson", lambda: ("Orin Nano", 36))
    advice = doctor._backend_state(BACKENDS["tensorrt"], None).advice
    assert "sudo apt install python3-libnvinfer" in advice and "edgeclf[" not in advice
