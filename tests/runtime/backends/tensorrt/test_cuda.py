"""The CUDA runtime through ctypes: what is asked, what is freed, what an error says."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from fake_cuda import FakeCudart

from edgeclf_runtime.backends.tensorrt import cuda
from edgeclf_runtime.backends.tensorrt.cuda import Cuda, Gpu, open_cuda
from edgeclf_runtime.errors import BackendError


def test_a_gpu_is_described() -> None:
    found = Cuda(FakeCudart()).require_gpu()
    assert found == Gpu("Orin", "8.7", 8, True, "12.6", "12.6", 4000, 7600)


@pytest.mark.parametrize("code", [35, 100])
def test_no_driver_and_no_device_are_no_gpu(code: int) -> None:
    fake = FakeCudart()
    fake.no_device_code = code
    assert Cuda(fake).device_count() == 0
    with pytest.raises(BackendError, match="TensorRT needs an NVIDIA GPU with its driver, there is none here"):
        Cuda(fake).require_gpu()


def test_another_error_of_the_driver_is_not_no_gpu() -> None:
    fake = FakeCudart()
    fake.no_device_code = 719
    with pytest.raises(BackendError, match=r"cudaGetDeviceCount failed: CUDA error 719 \(unspecified launch failure\)"):
        Cuda(fake).device_count()


def test_a_full_gpu_is_an_error_with_what_to_do() -> None:
    fake = FakeCudart()
    fake.fail["cudaMalloc"] = [2]
    with pytest.raises(BackendError, match=r"out of memory \(cudaMalloc\); end other programs, or use a smaller batch"):
        Cuda(fake).allocate(100)


def test_captured_work_is_launched_and_the_graph_is_freed() -> None:
    fake, done = FakeCudart(), []
    runtime = Cuda(fake)
    stream = runtime.create_stream()
    runtime.begin_capture(stream)
    fake.enqueue(stream, lambda: done.append(1))
    executable = runtime.end_capture(stream)
    assert executable is not None and done == []
    for _ in range(2):
        runtime.launch(executable, stream)
    runtime.synchronize(stream)
    assert done == [1, 1]
    runtime.destroy_executable(executable)
    runtime.destroy_stream(stream)
    assert (fake.live, fake.faults) == ({}, [])


@pytest.mark.parametrize("function", ["cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_work_that_can_not_be_captured_is_none_and_leaves_nothing(function: str) -> None:
    fake = FakeCudart()
    runtime = Cuda(fake)
    stream = runtime.create_stream()
    fake.fail[function] = [901]
    runtime.begin_capture(stream)
    assert runtime.end_capture(stream) is None
    assert fake.calls[-1] == "cudaGetLastError"  # or TensorRT would find the fault and give up
    runtime.destroy_stream(stream)
    assert fake.live == {}


def test_every_function_has_its_signature() -> None:
    fake = FakeCudart()
    Cuda(fake)
    declared = {name for name in dir(type(fake)) if name.startswith("cuda")}
    for name in declared - {"cudaGetErrorString"}:
        assert getattr(fake, name).restype is ctypes.c_int
        assert len(getattr(fake, name).argtypes) == getattr(FakeCudart, name).__code__.co_argcount - 1
    assert {*cuda._FUNCTIONS, "cudaGetErrorString"} == declared


def test_without_the_cuda_runtime_the_error_names_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_places", lambda: iter(["/no/libcudart.so.12"]))
    with pytest.raises(BackendError, match=r"libcudart.so.12 or .13\) is not found; on a Jetson it comes with JetPack"):
        open_cuda()


def test_a_runtime_that_is_newer_than_the_driver_gives_way_to_one_that_sees_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"13": FakeCudart(gpus=0), "12": FakeCudart()}
    monkeypatch.setattr(cuda, "_places", lambda: iter(found))
    monkeypatch.setattr(ctypes, "CDLL", found.__getitem__)
    assert open_cuda()._library is found["12"]
    found["12"].gpus = 0
    assert open_cuda()._library is found["13"]


def test_pips_cuda_runtimes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [tmp_path / "nvidia/cu13/lib/libcudart.so.13", tmp_path / "nvidia/cuda_runtime/lib/libcudart.so.12"]
    for path in wanted:
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    found = list(cuda._places())
    assert [place for place in found if place.startswith(str(tmp_path))] == list(map(str, wanted))
    assert {"libcudart.so.13", "libcudart.so.12"} <= set(found)
