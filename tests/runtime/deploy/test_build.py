"""`build`: a new proven bundle beside a portable one that stays as it is; other bundles are verified and measured."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fake_cuda import FakeCudart
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.engine_info import read_engine_info
from edgeclf_runtime.backends.tensorrt.library import Library
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.proof import TOLERANCES
from edgeclf_runtime.deploy import build as builds
from edgeclf_runtime.deploy import latency
from edgeclf_runtime.deploy.build import build, rebuild_if_stale, settings_of
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, BundleError, GateError, UsageError
from edgeclf_runtime.progress import SILENT, Progress
from edgeclf_runtime.session import open_session


@pytest.fixture
def portable(tmp_path: Path) -> Bundle:
    return tiny.build(tmp_path / "net-tensorrt-fp32", "tensorrt")


class Notes(Progress):
    """Keeps what a build says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        self.notes.append(sentence)

    warn = note


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def updated(fake: FakeGpu, version: str = "10.7.0", numbers: bytes = bytes([10, 7, 0, 23])) -> FakeGpu:
    """The same machine after an update of TensorRT."""
    return FakeGpu(fake.cudart, FakeTensorRT(fake.cudart, version, numbers))


# -- a portable bundle


def test_a_new_bundle_appears_beside_the_portable_one_which_stays_as_it_is(portable: Bundle, gpu: FakeGpu) -> None:
    before = bytes_of(portable.path)
    outcome = build(portable)
    assert outcome.made and outcome.bundle.path == portable.path.with_name("net-tensorrt-fp32-sm87-trt10.3")
    assert bytes_of(portable.path) == before
    manifest = outcome.bundle.manifest
    assert (manifest.state, manifest.derived_from) == ("built", portable.digest)
    assert {"model.onnx", "model.plan", "engine.json"} <= set(manifest.files)


def test_it_carries_its_own_proof_and_machine(portable: Bundle, gpu: FakeGpu) -> None:
    manifest = build(portable).bundle.manifest
    assert manifest.proof is not None and manifest.proof.verdict == "pass"
    assert manifest.built_on == manifest.proof.machine
    assert manifest.built_on["engine"] == "tensorrt" and manifest.built_on["device"] == "cuda (Orin)"
    assert manifest.proof.comparison.images == 8


def test_it_opens_and_verifies_by_itself_without_the_portable_one(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    shutil.rmtree(portable.path)
    assert verify(made).verdict == "pass"


def test_the_plan_is_tensorrts_own_file_with_the_engine_info_beside_it(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable, BuildSettings(opt_batch=2, max_batch=8)).bundle
    plan, info = made.read("model.plan"), read_engine_info(made)
    assert plan.endswith(portable.read("model.onnx"))  # as the stand-in gave it: nothing before, nothing after
    assert plan[:4] == b"fake"
    assert info.plan_sha256 == hashlib.sha256(plan).hexdigest()
    assert (info.plan_version, info.batch, info.place.gpu) == ("10.3.0.26", (1, 2, 8), "Orin")
    assert info.audit is not None and info.audit.shares == {"fp32": 1.0}


def test_it_reports_state_engine_and_machine_before_it_starts(portable: Bundle, gpu: FakeGpu) -> None:
    progress = Notes()
    build(portable, progress=progress)
    (sentence,) = progress.notes
    for words in ("is portable", "net-tensorrt-fp32-sm87-trt10.3 with tensorrt 10.3.0 on Orin", "batches of 1 to 16"):
        assert words in sentence


def test_the_latency_is_measured_on_the_new_engine(
    portable: Bundle, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**9, 1_000_000))  # every reading of the clock is a millisecond later
    monkeypatch.setattr(latency.time, "perf_counter_ns", lambda: next(clock))
    assert build(portable).median_ms == 1.0


def test_an_engine_with_other_outputs_is_kept_aside_and_nothing_is_published(portable: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.wrong = True
    wanted = r"differs from its reference: engine: logits differ .* kept aside as .*\.failed"
    with pytest.raises(GateError, match=wanted):
        build(portable)
    names = {path.name for path in portable.path.parent.iterdir()}
    assert names == {"net-tensorrt-fp32", "net-tensorrt-fp32-sm87-trt10.3.failed"}
    failed = Bundle.open(portable.path.with_name("net-tensorrt-fp32-sm87-trt10.3.failed"))
    assert failed.manifest.proof is not None and failed.manifest.proof.verdict == "fail"


def test_an_engine_in_another_precision_fails_though_its_outputs_are_right(portable: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.datatype = "Row major linear FP16"
    with pytest.raises(GateError, match=r"requested fp32, .* only 0% run in fp32 .*; kept aside as .*\.failed"):
        build(portable)
    assert not portable.path.with_name("net-tensorrt-fp32-sm87-trt10.3").exists()


def test_an_inspector_that_reports_nothing_is_noted(portable: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.datatype = "a format of tomorrow"
    (remark,) = build(portable).remarks
    assert "the engine does not report whether it computes in fp32" in remark


def test_without_a_gpu_the_state_is_reported_and_tensorrt_is_not_touched(portable: Bundle, gpu: FakeGpu) -> None:
    gpu.cudart.gpus = 0
    with pytest.raises(
        BackendError, match="is portable, and no engine can be built here: TensorRT needs an NVIDIA GPU"
    ):
        build(portable)
    assert gpu.trt.touched == []
    assert [path.name for path in portable.path.parent.iterdir()] == ["net-tensorrt-fp32"]


def test_without_tensorrt_the_state_is_reported_too(
    portable: Bundle, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Library:
        raise BackendError("TensorRT is not installed; on a Jetson it comes with JetPack")

    monkeypatch.setattr(builds, "import_tensorrt", missing)
    with pytest.raises(BackendError, match=r"is portable, and no engine can be built here: TensorRT is not installed"):
        build(portable)


def test_a_build_that_fails_leaves_nothing(portable: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.build_errors = ["no implementation"]
    with pytest.raises(BackendError, match="no implementation"):
        build(portable)
    assert [path.name for path in portable.path.parent.iterdir()] == ["net-tensorrt-fp32"]


def test_a_taken_place_is_refused_before_the_minutes_of_a_build(portable: Bundle, gpu: FakeGpu) -> None:
    build(portable)
    gpu.trt.touched.clear()
    with pytest.raises(UsageError, match="exists; give --force"):
        build(portable)
    assert gpu.trt.touched == []
    assert build(portable, force=True).made


def test_a_changed_file_of_the_portable_bundle_is_not_built(portable: Bundle, gpu: FakeGpu) -> None:
    model = portable.path / "model.onnx"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.onnx: changed since the export"):
        build(Bundle.open(portable.path))


def test_a_packed_bundle_is_built_beside_the_file(portable: Bundle, gpu: FakeGpu) -> None:
    packed = Bundle.open(pack(portable, portable.path.with_name("road.tar")))
    assert build(packed).bundle.path == portable.path.with_name("road-sm87-trt10.3")


def test_tf32_is_evaluated_as_the_half_precision_that_it_is(portable: Bundle, gpu: FakeGpu) -> None:
    assert build(portable, BuildSettings(tf32=True)).bundle.manifest.tolerances == TOLERANCES["fp16"]


def test_an_old_jetpack_is_refused_for_every_target(
    bundle: Bundle, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "jetson_refusal", lambda: "too old a JetPack")
    with pytest.raises(BackendError, match="too old a JetPack"):
        build(bundle)


# -- settings


def test_settings_that_travel_in_the_portable_bundle_are_its_defaults(portable: Bundle, gpu: FakeGpu) -> None:
    settings = BuildSettings(opt_batch=4, max_batch=8)
    (portable.path / "build.json").write_text(json.dumps(asdict(settings)))
    travelling = tiny.reseal(portable.path)
    assert settings_of(travelling) == settings
    assert read_engine_info(build(travelling).bundle).settings == settings
    assert settings_of(portable) == BuildSettings()


@pytest.mark.parametrize("content", ["", "[]", '{"max_batch": 0}', '{"max_batch": "8"}', '{"dla": true}'])
def test_strange_settings_are_named(content: str, portable: Bundle) -> None:
    (portable.path / "build.json").write_text(content)
    with pytest.raises((BundleError, UsageError)):
        settings_of(tiny.reseal(portable.path))


# -- after an update


def test_a_stale_engine_is_built_again_under_a_new_name(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable, BuildSettings(max_batch=8)).bundle
    progress = Notes()
    with updated(gpu).installed():
        fresh = rebuild_if_stale(made, SessionOptions(), progress)
        with open_session(fresh) as session:
            assert session.facts["engine_version"] == "10.7.0"
    assert fresh.path == portable.path.with_name("net-tensorrt-fp32-sm87-trt10.7")
    assert fresh.manifest.derived_from == portable.digest
    assert read_engine_info(fresh).settings.max_batch == 8
    assert "STALE: it was built with TensorRT 10.3.0, this machine has 10.7.0" in progress.notes[0]
    assert made.path.exists()


def test_what_was_built_again_before_takes_its_place_without_another_build(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    newer = updated(gpu)
    with newer.installed():
        first = rebuild_if_stale(made, SessionOptions(), SILENT)
        newer.trt.touched.clear()
        progress = Notes()
        assert rebuild_if_stale(made, SessionOptions(), progress).digest == first.digest
    assert newer.trt.touched == [] and "takes its place" in progress.notes[1]


def test_a_bundle_of_another_origin_in_that_place_is_not_taken(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    other = portable.path.with_name("net-tensorrt-fp32-sm87-trt10.7")
    shutil.copytree(made.path, other)
    tiny.reseal(other, derived_from="00" * 32)
    with updated(gpu).installed(), pytest.raises(UsageError, match="exists"):
        rebuild_if_stale(made, SessionOptions(), SILENT)


def test_what_runs_here_is_not_built_again(portable: Bundle, bundle: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    gpu.trt.touched.clear()
    for each in (made, portable, bundle):
        assert rebuild_if_stale(each, SessionOptions(), pytest.fail) is each
    assert gpu.trt.touched == []


def test_a_built_bundle_builds_itself_for_another_gpu(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    other = FakeCudart(name="Thor", capability=(11, 0))
    with FakeGpu(other, FakeTensorRT(other, "10.16.0", bytes([10, 16, 0, 1]))).installed():
        again = build(made).bundle
    assert again.path.name == "net-tensorrt-fp32-sm110-trt10.16"
    assert again.manifest.derived_from == portable.digest


# -- bundles that are built already


def test_another_bundle_is_verified_and_measured_and_its_proof_lies_beside_it(bundle: Bundle) -> None:
    before, progress = bytes_of(bundle.path), Notes()
    outcome = build(bundle, progress=progress)
    assert (outcome.made, outcome.bundle, outcome.proof.verdict) == (False, bundle, "pass")
    assert outcome.saved_at is not None and outcome.saved_at.parent == bundle.sidecar
    assert outcome.median_ms > 0
    assert bytes_of(bundle.path) == before
    assert "is built: reference bundles run as they are" in progress.notes[0]


def test_another_bundle_with_other_outputs_has_a_failed_proof(bundle: Bundle) -> None:
    golden = bundle.manifest.golden
    np.save(bundle.path / golden.outputs, -bundle.read_array(golden.outputs))
    assert build(tiny.reseal(bundle.path)).proof.verdict == "fail"


def test_a_bundle_that_takes_no_images_can_not_be_measured(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="takes no images"):
        latency.one_input(replace(bundle.manifest, pixels=None))


def test_after_a_small_update_the_new_engine_takes_the_stale_ones_place(portable: Bundle, gpu: FakeGpu) -> None:
    made = build(portable).bundle
    with updated(gpu, "10.3.1", bytes([10, 3, 1, 30])).installed():
        fresh = rebuild_if_stale(made, SessionOptions(), SILENT)
        assert fresh.path == made.path and fresh.digest != made.digest
        with open_session(fresh) as session:
            assert session.facts["engine_version"] == "10.3.1"


def test_the_portable_bundle_is_never_overwritten_by_its_engine(portable: Bundle, gpu: FakeGpu) -> None:
    with pytest.raises(UsageError, match="the portable bundle itself"):
        build(portable, destination=portable.path, force=True)
    assert Bundle.open(portable.path).digest == portable.digest


def test_the_dla_and_the_cpu_are_refused_before_anything_is_built(portable: Bundle, gpu: FakeGpu) -> None:
    for device in ("dla", "dla:0", "cpu"):
        with pytest.raises(BackendError, match="leave --device out"):
            build(portable, options=SessionOptions(device=device))
    assert not list(portable.path.parent.glob("*-sm*"))
