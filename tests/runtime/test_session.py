"""The contract of a session, kept by every backend."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.session import BACKENDS, Session, open_session

Shared = Callable[[str], Bundle]
TARGETS = (*tiny.TARGETS, "tensorrt")


def test_every_backend_is_under_this_contract() -> None:
    without_a_tiny_bundle = {"hog-svm"}  # takes 64x64 pixels and gives margins: its own tests compare it with sklearn
    assert {*TARGETS, *without_a_tiny_bundle} == {*BACKENDS, *without_a_tiny_bundle}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    if request.param == "tensorrt":
        request.getfixturevalue("gpu")
    return str(request.param)


@pytest.fixture
def session(target: str, shared_bundle: Shared) -> Any:
    with open_session(shared_bundle(target), SessionOptions(threads=1)) as opened:
        yield opened


def test_outputs_are_float32_logits_of_the_reference(session: Session, target: str) -> None:
    batch = tiny.random_pixels(5, target)
    outputs = session(batch)
    assert (outputs.shape, outputs.dtype) == ((5, 3), np.float32)
    assert tiny.close_to(outputs, tiny.reference_logits(target, batch))


def test_each_image_gets_the_same_output_in_any_batch(session: Session, target: str) -> None:
    batch = tiny.random_pixels(7, target)
    together = session(batch)
    for size in (1, 2, 3):
        apart = np.concatenate([session(batch[i : i + size]) for i in range(0, 7, size)])
        assert tiny.close_to(apart, together)


def test_no_images_give_an_empty_result(session: Session, target: str) -> None:
    outputs = session(tiny.random_pixels(0, target))
    assert (outputs.shape, outputs.dtype) == ((0, 3), np.float32)


def test_wrong_shapes_and_dtypes_are_refused_with_both_sides_named(session: Session, target: str) -> None:
    batch = tiny.random_pixels(2, target)
    wrong: list[Any] = [
        batch.astype(np.float32),
        batch.astype(np.int8),
        batch.astype(np.uint16),
        batch[0],
        batch[:, :-1],
        batch[:, :, :, :1],
        batch.transpose(0, 3, 1, 2),
        batch[None],
        np.zeros((), np.uint8),
    ]
    for array in wrong:
        with pytest.raises(UsageError, match=rf"wanted a batch .*NHWC.*found .*{array.dtype}"):
            session(array)
    with pytest.raises(UsageError, match="found list"):
        session(batch.tolist())


def test_views_and_read_only_arrays_give_the_same(session: Session, target: str) -> None:
    batch = tiny.random_pixels(4, target)
    wanted = session(batch[::-1].copy())
    frozen = batch[::-1].copy()
    frozen.flags.writeable = False
    padded = np.zeros((4, *batch.shape[1:3], 5), np.uint8)
    padded[..., :3] = batch[::-1]
    for same in (batch[::-1], frozen, padded[..., :3], np.asfortranarray(batch[::-1])):
        assert tiny.close_to(session(same), wanted)


def test_the_caller_owns_the_output_and_keeps_the_batch(session: Session, target: str) -> None:
    first, second = tiny.random_pixels(3, target), tiny.random_pixels(3, target, seed=1)
    kept = first.copy()
    output = session(first)
    copy = output.copy()
    session(second)
    assert np.array_equal(output, copy)
    output[:] = 0
    assert tiny.close_to(session(first), copy)
    assert np.array_equal(first, kept)


def test_8_threads_get_what_a_serial_caller_gets(session: Session, target: str) -> None:
    batches = [tiny.random_pixels(1 + i % 3, target, seed=i) for i in range(48)]
    serial = [session(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            for found, wanted in zip(pool.map(session, batches), serial, strict=True):
                assert tiny.close_to(found, wanted)


def test_a_closed_session_is_a_clear_error_and_may_be_closed_twice(target: str, shared_bundle: Shared) -> None:
    session = open_session(shared_bundle(target))
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session(tiny.random_pixels(1, target))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_an_error_and_no_hang(session: Session, target: str) -> None:
    session(tiny.random_pixels(1, target))
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang dies here, and so fails
        try:
            session(tiny.random_pixels(1, target))
        except UsageError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(session(tiny.random_pixels(1, target))) == 1


def test_an_unknown_device_is_an_error_never_a_fallback(target: str, shared_bundle: Shared) -> None:
    for device in ("tpu", "cuda:9", "gpu.7", ""):
        with pytest.raises(BackendError):
            open_session(shared_bundle(target), SessionOptions(device=device))


@pytest.mark.parametrize(("target", "device"), [("onnx", "cuda"), ("onnx", "tensorrt"), ("pytorch", "cuda")])
def test_a_gpu_that_is_not_there_is_an_error(target: str, device: str, shared_bundle: Shared) -> None:
    if gpu_is_usable(target, device):
        pytest.skip(f"this machine has {device}")
    with pytest.raises(BackendError, match=device if target == "pytorch" else "Provider"):
        open_session(shared_bundle(target), SessionOptions(device=device))


def gpu_is_usable(target: str, device: str) -> bool:
    if target == "pytorch":
        import torch

        return bool(torch.cuda.is_available())
    import onnxruntime

    return any(device in provider.lower() for provider in onnxruntime.get_available_providers())


_TELLS_PLACEMENT = "get_provider_graph_assignment_info"


class ProviderSession:
    """An onnxruntime session that reports what a test wants; `requested` is what the last one was opened with."""

    got = "CUDAExecutionProvider"
    reported: ClassVar[dict[str, str]] = {}
    requested: ClassVar[dict[str, Any]] = {}
    on_cpu: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: bytes, settings: Any, *, providers: Any, enable_fallback: int) -> None:
        type(self).requested = {
            "providers": providers,
            "enable_fallback": enable_fallback,
            "placement": settings.get_session_config_entry("session.record_ep_graph_assignment_info"),
        }

    def get_providers(self) -> list[str]:
        return [self.got, "CPUExecutionProvider"]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {self.got: self.reported}

    def get_provider_graph_assignment_info(self) -> list[Any]:
        placed = [(self.got, "Conv"), *(("CPUExecutionProvider", operator) for operator in self.on_cpu)]
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda operator=operator: [SimpleNamespace(op_type=operator)])
            for name, operator in placed
        ]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="pixels", shape=["batch", tiny.SIDE, tiny.SIDE, 3])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="logits", shape=["batch", len(tiny.LABELS)])]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> type[ProviderSession]:
    import onnxruntime

    offered = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    monkeypatch.setattr(onnxruntime, "InferenceSession", ProviderSession)
    for name in ("got", "reported", "requested", "on_cpu"):
        monkeypatch.setattr(ProviderSession, name, getattr(ProviderSession, name))
    return ProviderSession


def test_a_provider_that_falls_back_is_an_error(shared_bundle: Shared, provider: type[ProviderSession]) -> None:
    provider.got = "CPUExecutionProvider"
    with pytest.raises(BackendError, match="requested CUDAExecutionProvider of onnxruntime, it fell back to CPU"):
        open_session(shared_bundle("onnx"), SessionOptions(device="cuda"))


def test_a_provider_that_takes_another_setting_is_an_error(
    shared_bundle: Shared, provider: type[ProviderSession]
) -> None:
    provider.reported = {"use_tf32": "1"}
    with pytest.raises(BackendError, match="requested use_tf32 = 0 of CUDAExecutionProvider, it took 1"):
        open_session(shared_bundle("onnx"), SessionOptions(device="cuda"))


def test_nodes_that_would_run_on_the_cpu_are_an_error_unless_they_compute_shapes(
    shared_bundle: Shared, provider: type[ProviderSession]
) -> None:
    provider.on_cpu = ("Shape", "Gather", "Concat")  # of a ViT, whose batch varies: seen on an H200
    open_session(shared_bundle("onnx"), SessionOptions(device="cuda")).close()
    provider.on_cpu = ("Shape", "Resize", "MatMul", "MatMul")
    with pytest.raises(BackendError, match=r"does not take 3 nodes of this model \(MatMul, Resize\)") as caught:
        open_session(shared_bundle("onnx"), SessionOptions(device="cuda"))
    assert "leave --device out" in str(caught.value)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_older_onnxruntime_refuses_what_would_run_on_the_cpu_itself(
    shared_bundle: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    for owner in (kind for kind in onnxruntime.InferenceSession.__mro__ if _TELLS_PLACEMENT in vars(kind)):
        monkeypatch.delattr(owner, _TELLS_PLACEMENT)  # of today's; an older one has none
    with pytest.raises(BackendError, match="does not take every node of this model, and the rest would run on the CPU"):
        open_session(shared_bundle("onnx"), SessionOptions(device="cuda"))


def test_onnxruntimes_gpu_providers_get_the_bundles_precision_and_no_cpu(
    tmp_path: Path, provider: type[ProviderSession]
) -> None:
    bundle = tiny.build(tmp_path / "b", "onnx", compute_precision="fp16")
    with open_session(bundle, SessionOptions(device="cuda")) as session:
        assert session.facts["device"] == "CUDAExecutionProvider"
    assert (provider.requested["placement"], provider.requested["enable_fallback"]) == ("1", 0)
    assert provider.requested["providers"] == [("CUDAExecutionProvider", {"use_tf32": "0"})]
    provider.got = "TensorrtExecutionProvider"
    open_session(bundle, SessionOptions(device="tensorrt")).close()
    ((_, requested),) = provider.requested["providers"]
    assert requested == {"trt_fp16_enable": "1", "trt_int8_enable": "0", "trt_engine_cache_enable": "0"}


@pytest.mark.parametrize("precision", ["fp64", "int4"])
def test_a_precision_that_is_not_available_is_an_error(target: str, precision: str, shared_bundle: Shared) -> None:
    with pytest.raises(BackendError, match=rf"{precision}"):
        open_session(shared_bundle(target), SessionOptions(compute_precision=precision))


def test_half_precision_is_computed_or_refused_never_replaced(target: str, shared_bundle: Shared) -> None:
    options = SessionOptions(compute_precision="fp16")
    try:
        with open_session(shared_bundle(target), options) as session:
            assert session.compute_precision == "fp16"
    except BackendError as error:
        assert f"requested fp16 of {target}, it computes in" in str(error)


def test_facts_name_what_runs(session: Session) -> None:
    assert session.compute_precision == "fp32"
    assert {"engine", "engine_version", "device"} <= set(session.facts)
    assert all(session.facts.values())


def test_a_portable_bundle_is_not_opened_but_built_first(bundle: Bundle) -> None:
    with pytest.raises(
        BackendError, match="is portable, not yet built; build it on the machine it shall run on: edgeclf build "
    ):
        open_session(tiny.reseal(bundle.path, state="portable"))


def test_an_unknown_target_lists_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="no backend 'tpu'; this edgeclf has onnx, openvino"):
        open_session(tiny.reseal(bundle.path, target="tpu"))


@pytest.mark.parametrize("target", ["reference", "onnx", "openvino"])
def test_batches_of_any_size_are_cut_to_the_size_that_the_graph_was_fixed_to(target: str, tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "fixed", target, batch=4)
    calls = []
    with open_session(bundle) as session:
        engine = session.check_usable()
        infer = engine.infer
        engine.infer = lambda batch: (calls.append(len(batch)), infer(batch))[1]  # type: ignore[method-assign]
        for count in (1, 4, 7, 9):
            batch = tiny.random_pixels(count)
            assert tiny.close_to(session(batch), tiny.reference_logits(target, batch))
        assert session(tiny.random_pixels(0)).shape == (0, 3)
    assert calls == [4] * (1 + 1 + 2 + 3)


def test_a_graph_whose_outputs_are_in_half_precision_still_gives_float32(
    shared_bundle: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(shared_bundle("reference")) as session:
        engine = session.check_usable()
        monkeypatch.setattr(engine, "infer", lambda batch: np.zeros((len(batch), 3), np.float16))
        assert session(tiny.random_pixels(2)).dtype == np.float32


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_beyond_reason_are_a_usage_error(threads: int) -> None:
    with pytest.raises(UsageError, match="threads must be"):
        SessionOptions(threads=threads)
