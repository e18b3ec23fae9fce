"""Energy is reported where the board reports its power, and only for what runs on the part that is measured."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgeclf_benchmarks.measuring import energy
from edgeclf_benchmarks.measuring.contenders import BundleContender
from edgeclf_benchmarks.measuring.energy import Meter, Watch, board_meter, gpu_watts
from edgeclf_benchmarks.measuring.scenarios import RULES, run_scenario
from edgeclf_runtime.backends.engine import SessionOptions


def _rails(root: Path, kind: str = "ina3221", **watts: float) -> Path:
    """A monitor whose channels draw so many watts at 5 V."""
    monitor = root / "sys/class/hwmon/hwmon1"
    monitor.mkdir(parents=True, exist_ok=True)
    (monitor / "name").write_text(f"{kind}\n")
    for channel, (label, drawn) in enumerate(watts.items(), 1):
        (monitor / f"in{channel}_label").write_text(f"{label}\n")
        (monitor / f"in{channel}_input").write_text("5000\n")
        (monitor / f"curr{channel}_input").write_text(f"{drawn * 200:.0f}\n")
    return root


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "gpu_watts", lambda: None)


def test_the_supply_rail_of_an_orin_nano_is_read_and_the_rails_in_it_are_not_added(tmp_path: Path) -> None:
    meter = board_meter(_rails(tmp_path, VDD_IN=4.0, VDD_CPU_GPU_CV=1.0, VDD_SOC=1.0), idle_s=0.0)
    assert meter is not None and (meter.source, meter.idle_w) == ("VDD_IN", pytest.approx(4.0))
    _rails(tmp_path, VDD_IN=9.0)
    with meter.watch() as seen:
        pass
    found = meter.power(seen, images=50, seconds=2.0)
    assert found is not None
    assert (found.idle_w, found.mean_w, found.mj_per_image) == pytest.approx((4.0, 5.0, 200.0))


def test_the_three_inputs_of_an_agx_orin_are_added(tmp_path: Path) -> None:
    meter = board_meter(_rails(tmp_path, VDD_GPU_SOC=3.0, VDD_CPU_CV=2.0, VIN_SYS_5V0=4.0), idle_s=0.0)
    assert meter is not None and meter.idle_w == pytest.approx(9.0)
    assert meter.source == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"


def test_a_thor_is_read_at_its_supply(tmp_path: Path) -> None:
    _rails(tmp_path, "ina238")
    (tmp_path / "sys/class/hwmon/hwmon1/label").write_text("VIN\n")
    (tmp_path / "sys/class/hwmon/hwmon1/power1_input").write_text("23125000\n")
    meter = board_meter(tmp_path, idle_s=0.0)
    assert meter is not None and (meter.source, meter.idle_w) == ("VIN", pytest.approx(23.125))


def test_a_board_that_reports_no_power_has_no_meter(tmp_path: Path) -> None:
    assert board_meter(tmp_path, idle_s=0.0) is None
    assert board_meter(_rails(tmp_path, VDD_GPU_SOC=3.0), idle_s=0.0) is None  # a part of the board only


def test_a_rail_that_disappears_or_stays_idle_gives_no_figure(tmp_path: Path) -> None:
    root = _rails(tmp_path, VDD_IN=4.0)
    meter = board_meter(root, idle_s=0.0)
    assert meter is not None
    with meter.watch() as idle:
        pass
    (root / "sys/class/hwmon/hwmon1/in1_input").unlink()
    with meter.watch() as silent:
        pass
    assert meter.power(idle, 10, 1.0) is meter.power(silent, 10, 1.0) is None


def test_opening_and_warming_up_are_not_in_the_figure(tmp_path: Path) -> None:
    order: list[str] = []

    class Marked(Watch):
        def __enter__(self) -> Watch:
            order.append("watch")
            return super().__enter__()

    contender = BundleContender("a", tiny.build(tmp_path / "a"))
    opened = contender.open(SessionOptions(threads=1))

    class Counting:
        name, largest_batch = "a", None

        def open(self, options: SessionOptions) -> Any:
            from dataclasses import replace

            def infer(batch: Any) -> Any:
                order.append("infer")
                return opened.infer(batch)

            return replace(opened, infer=infer)

    files = [tiny.encoded(picture) for picture in tiny.images()]
    watch = Marked(lambda: 1.0)
    run_scenario(Counting(), RULES["offline"], files, SessionOptions(threads=1), seconds=0.0, around=watch)
    assert order == ["infer"] * 10 + ["watch", "infer"]


class _Nvml:
    """A driver with so many GPUs, the first of which draws 70.5 W, then returns errors."""

    def __init__(self, gpus: int, statuses: Iterator[int]) -> None:
        self._gpus, self._statuses = gpus, statuses

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_uint))[0] = self._gpus
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, device: Any) -> int:
        return 0

    def nvmlDeviceGetPowerUsage(self, device: Any, milliwatts: Any) -> int:
        ctypes.cast(milliwatts, ctypes.POINTER(ctypes.c_uint))[0] = 70500
        return next(self._statuses)


def test_a_single_gpu_reports_its_watts_and_several_report_nothing() -> None:
    watts = gpu_watts(lambda name: _Nvml(1, iter([0, 0, 3])))
    assert watts is not None and watts() == 70.5
    assert watts() is None
    assert gpu_watts(lambda name: _Nvml(2, iter([0]))) is None
    assert gpu_watts(lambda name: _Nvml(1, iter([3]))) is None


def test_without_a_driver_there_is_no_gpu_meter() -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    assert gpu_watts(missing) is None


def test_a_gpus_meter_does_not_measure_rows_on_the_cpu(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from edgeclf_benchmarks.measuring.bench import _watch

    meter = Meter("GPU (NVML)", lambda: 5.0, idle_s=0.0, gpu_only=True)
    state: Any = SimpleNamespace(options=SimpleNamespace(meter=meter))
    devices = {"CPUExecutionProvider": False, "CUDAExecutionProvider": True, "cuda (Orin)": True, "cpu": False}
    for device, measured in devices.items():
        part: Any = SimpleNamespace(engine={"device": device})
        assert (_watch(state, part) is not None) is measured
