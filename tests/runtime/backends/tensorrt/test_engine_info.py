"""engine.json: what forbids an engine to run here, what only makes it slower, one test for each mismatch."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import replace

import pytest
from fake_cuda import FakeCudart
from fake_gpu import FakeGpu

from edgeclf_runtime.backends.audit import Audit
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.cuda import Cuda
from edgeclf_runtime.backends.tensorrt.engine_info import (
    Difference,
    EngineInfo,
    Place,
    check_plan,
    differences,
    place_here,
    read_engine_info,
)
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.errors import BundleError

PLACE = Place("tensorrt", "10.3.0", "12.6", "540.4.0", "Orin", "8.7", 8, "Linux", "aarch64")
INFO = EngineInfo(
    schema=1,
    place=PLACE,
    plan_version="10.3.0.26",
    plan_sha256="ab" * 32,
    onnx_sha256="cd" * 32,
    input_name="images",
    batch=(1, 1, 16),
    settings=BuildSettings(),
    build_seconds=61.5,
    warnings=("a warning",),
    audit=Audit({"fp16": 0.9, "fp32": 0.1}),
    created_utc="2026-11-24T05:00:00Z",
)
COMPATIBLE = replace(INFO, settings=BuildSettings(version_compatible=True, hardware_compatible=True))


def only(found: tuple[Difference, ...]) -> Difference:
    (difference,) = found
    return difference


def test_the_same_machine_differs_in_nothing() -> None:
    assert differences(INFO, PLACE) == ()
    assert differences(INFO, replace(PLACE, driver="540.5.0")) == ()  # drivers load older plans


def test_engine_info_survives_json() -> None:
    assert from_json(EngineInfo, to_json(INFO), "engine.json") == INFO


def test_another_tensorrt_is_an_error() -> None:
    found = only(differences(INFO, replace(PLACE, tensorrt="10.7.0")))
    assert found == Difference("error", "it was built with TensorRT 10.3.0, this machine has 10.7.0")


def test_a_version_that_also_names_its_build_is_the_same() -> None:
    assert differences(INFO, replace(PLACE, tensorrt="10.3.0.26")) == ()
    assert only(differences(INFO, replace(PLACE, tensorrt="10.30.0"))).kind == "error"


def test_a_version_compatible_engine_runs_on_newer_ones_of_its_major_version() -> None:
    assert only(differences(COMPATIBLE, replace(PLACE, tensorrt="10.16.1"))).kind == "warning"
    for other in ("10.2.0", "11.0.0"):
        assert only(differences(COMPATIBLE, replace(PLACE, tensorrt=other))).kind == "error"


def test_tensorrt_rtx_loads_no_engine_of_tensorrt() -> None:
    found = only(differences(INFO, replace(PLACE, flavour="tensorrt-rtx", tensorrt="1.7.1")))
    assert found.kind == "error" and "with TensorRT 10.3.0, this machine has TensorRT-RTX 1.7.1" in found.sentence


def test_another_gpu_of_the_same_kind_is_a_warning() -> None:
    found = only(differences(INFO, replace(PLACE, gpu="Orin Nano", multiprocessors=4)))
    assert found.kind == "warning"
    assert "built on Orin (compute capability 8.7, 8 multiprocessors), this is Orin Nano" in found.sentence


def test_another_compute_capability_is_an_error() -> None:
    found = only(differences(INFO, replace(PLACE, gpu="Thor", compute_capability="11.0")))
    assert found.kind == "error" and "this is Thor (compute capability 11.0" in found.sentence


def test_a_hardware_compatible_engine_runs_from_ampere_on() -> None:
    assert only(differences(COMPATIBLE, replace(PLACE, gpu="RTX 4090", compute_capability="8.9"))).kind == "warning"
    assert only(differences(COMPATIBLE, replace(PLACE, gpu="T4", compute_capability="7.5"))).kind == "error"


def test_an_engine_of_tensorrt_rtx_fits_every_rtx_gpu() -> None:
    rtx = replace(PLACE, flavour="tensorrt-rtx", tensorrt="1.7.1")
    info = replace(INFO, place=rtx)
    assert only(differences(info, replace(rtx, gpu="RTX 5090", compute_capability="12.0"))).kind == "warning"
    assert only(differences(info, replace(rtx, gpu="GTX 1080", compute_capability="6.1"))).kind == "error"


def test_another_operating_system_is_an_error() -> None:
    found = only(differences(INFO, replace(PLACE, os="Windows")))
    assert found == Difference("error", "it was built for the operating system Linux, this is Windows")


def test_another_processor_is_an_error() -> None:
    found = only(differences(INFO, replace(PLACE, processor="x86_64")))
    assert found == Difference("error", "it was built for the processor aarch64, this is x86_64")


def test_another_major_cuda_is_a_warning() -> None:
    assert only(differences(INFO, replace(PLACE, cuda="13.2"))).kind == "warning"
    assert differences(INFO, replace(PLACE, cuda="12.9")) == ()


def test_the_gravest_difference_comes_first() -> None:
    found = differences(INFO, replace(PLACE, cuda="13.2", tensorrt="11.0.0", processor="x86_64", gpu="Thor"))
    assert [difference.kind for difference in found] == ["error", "error", "warning", "warning"]


PLAN = bytes(24) + bytes([10, 3, 0, 26]) + b"kernels"


def test_a_changed_plan_is_an_error() -> None:
    info = replace(INFO, plan_sha256=hashlib.sha256(PLAN).hexdigest())
    check_plan(info, PLAN, "b/model.plan")
    with pytest.raises(BundleError, match=r"b/model\.plan: not the plan that engine\.json describes \(SHA-256"):
        check_plan(info, PLAN + b"!", "b/model.plan")


def test_a_plan_of_another_version_than_its_engine_info_is_an_error() -> None:
    with pytest.raises(BundleError, match=r"its header names TensorRT 10\.7\.0\.23, engine\.json 10\.3\.0\.26"):
        check_plan(INFO, bytes(24) + bytes([10, 7, 0, 23]), "b/model.plan")


def test_this_machine_is_described() -> None:
    cudart = FakeCudart(name="Orin", capability=(8, 7))
    here = place_here(FakeGpu(cudart).library, Cuda(cudart).require_gpu())
    assert (here.flavour, here.tensorrt, here.cuda, here.gpu) == ("tensorrt", "10.3.0", "12.6", "Orin")
    assert (here.compute_capability, here.multiprocessors) == ("8.7", 8)
    assert (here.os, here.processor) == (platform.system(), platform.machine())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}', "[" * 100_000])
def test_strange_engine_info_is_a_bundle_error(content: str, gpu: FakeGpu, shared_bundle: object) -> None:
    class Strange:
        path = "b"

        def read(self, path: str) -> bytes:
            return content.encode()

    with pytest.raises(BundleError, match=r"b/engine\.json"):
        read_engine_info(Strange())  # type: ignore[arg-type]


def test_engine_info_of_a_bundle_is_read(gpu: FakeGpu, shared_bundle: object) -> None:
    bundle: Bundle = shared_bundle("tensorrt")  # type: ignore[operator]
    assert read_engine_info(bundle).place.gpu == "Orin"
