"""Beside a GPU the engine follows the portable bundle; elsewhere one sentence gives the reason why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_gpu import FakeGpu

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export, export_each
from edgeclf_export.options import ExportOptions
from edgeclf_export.targets.tensorrt import engine_here
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.library import library_of
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, parse_manifest
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.errors import BackendError, GateError

Load = Callable[[str], Exportable]


def manifest_of(folder: Path) -> Manifest:
    return parse_manifest((folder / MANIFEST).read_bytes(), str(folder))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, without_rtx: None, without_gpu: None) -> Iterator[FakeGpu]:
    """A machine with the stand-ins of fake_gpu.py in place of its GPU and TensorRT."""
    fake = FakeGpu()
    monkeypatch.setattr(engine_here, "open_cuda", lambda: fake.cuda)
    monkeypatch.setattr(engine_here, "import_tensorrt", lambda: fake.library)
    with fake.installed():
        yield fake


def test_beside_a_gpu_the_engine_follows_the_portable_bundle(gpu: FakeGpu, load: Load, tmp_path: Path) -> None:
    options = ExportOptions(("tensorrt",), output=tmp_path, engine=BuildSettings(max_batch=4))
    portable, built = export(load("test_resnet"), options)
    assert (portable.state, built.state) == ("portable", "built")
    assert built.path.name == "test_resnet-tensorrt-fp32-sm87-trt10.3"
    assert manifest_of(built.path).derived_from == Bundle.open(portable.path).digest
    assert built.proof.verdict == "pass" and built.proof.machine["engine"] == "tensorrt"
    assert json.loads((built.path / "engine.json").read_text())["batch"] == [1, 1, 4]
    assert "pixels to logits" in built.checks[0]


@pytest.mark.parametrize(
    ("flavour", "capability", "states"),
    [
        ("tensorrt-rtx", (9, 0), ["portable"]),
        ("tensorrt-rtx", (8, 9), ["portable", "built"]),
        ("tensorrt", (9, 0), ["portable", "built"]),
    ],
)
def test_tensorrt_rtx_builds_no_engine_on_a_data_centre_gpu(
    gpu: FakeGpu, load: Load, tmp_path: Path, flavour: Any, capability: tuple[int, int], states: list[str]
) -> None:
    gpu.cudart.name, gpu.cudart.capability = "NVIDIA H200", capability
    gpu.library = replace(gpu.library, flavour=flavour, version="1.7.1.116" if flavour != "tensorrt" else "10.3.0")
    found = list(export(load("test_resnet"), ExportOptions(("tensorrt",), output=tmp_path)))
    assert [each.state for each in found] == states
    if len(states) == 1:
        assert "not on NVIDIA H200 (compute capability 9.0)" in str(engine_here.why_no_engine_here())
        with pytest.raises(BackendError, match=r"not on NVIDIA H200 .*\[tensorrt\]"):
            build(Bundle.open(found[0].path))


def test_an_engine_with_other_logits_fails_the_export_and_leaves_the_portable_bundle(
    gpu: FakeGpu, load: Load, tmp_path: Path
) -> None:
    gpu.trt.wrong = True
    with pytest.raises(GateError, match="differs from its reference"):
        list(export(load("test_resnet"), ExportOptions(("tensorrt",), output=tmp_path)))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["test_resnet-tensorrt-fp32", "test_resnet-tensorrt-fp32-sm87-trt10.3.failed"]


@pytest.mark.parametrize(
    ("version", "capability", "lack"),
    [
        ("10.3.0", (8, 7), "TensorRT 10.3.0 .* can't read its opset"),
        ("10.16.0", (7, 5), r"Orin \(compute capability 7.5\) has no bf16"),
    ],
)
def test_a_device_without_bf16_is_reported_in_one_line(
    version: str, capability: tuple[int, int], lack: str, gpu: FakeGpu, load: Load, tmp_path: Path
) -> None:
    gpu.trt.__version__, gpu.cudart.capability = version, capability
    gpu.library = library_of(gpu.trt, "tensorrt")
    made = export_each(load("test_resnet"), ExportOptions(("tensorrt",), "bf16", output=tmp_path))
    assert next(made).state == "portable"
    with pytest.raises(BackendError, match=f"computes in bf16, and {lack}; export it again with --precision fp16"):
        next(made)


def test_where_cuda_finds_no_gpu_tensorrt_is_not_imported(
    gpu: FakeGpu, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.cudart.gpus = 0
    assert engine_here.why_no_engine_here() == "there is no NVIDIA GPU here"
    (portable,) = export(load("test_resnet"), ExportOptions(("tensorrt",), output=tmp_path))
    assert portable.state == "portable" and gpu.trt.touched == []


@pytest.mark.parametrize(
    ("listed", "reason"), [((), "there is no NVIDIA GPU here"), (("RTX 4090",), "the CUDA runtime is not found")]
)
def test_without_cuda_the_reason_is_the_gpu_or_where_one_is_listed_cuda(
    listed: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_here, "gpus", lambda: listed)
    assert engine_here.why_no_engine_here() == reason


def test_a_tensorrt_that_is_missing_beside_a_gpu_is_the_reason(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise BackendError("TensorRT is not installed; …")

    monkeypatch.setattr(engine_here, "import_tensorrt", missing)
    assert engine_here.why_no_engine_here() == "TensorRT is not installed; …"
