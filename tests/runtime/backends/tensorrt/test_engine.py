"""The TensorRT backend on a GPU that is not there: order, sizes, graphs, chunks, threads, frees, ways to fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fake_cuda import FakeCudart
from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.tensorrt.backend import TrtEngine
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.execution_slot import MOST_SHAPES
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import TensorSpec
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.errors import BackendError, BundleError, UsageError
from edgeclf_runtime.session import Session, open_session

LARGEST = 4


@pytest.fixture(scope="module")
def once_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny engine for batches of 1 to 4, built on another such GPU."""
    portable = tiny.build(tmp_path_factory.mktemp("engine") / "net", "tensorrt")
    with FakeGpu().installed():
        return build(portable, BuildSettings(max_batch=LARGEST)).bundle.path


@pytest.fixture
def built(once_built: Path, gpu: FakeGpu, tmp_path: Path) -> Bundle:
    return Bundle.open(shutil.copytree(once_built, tmp_path / once_built.name))


@pytest.fixture
def session(built: Bundle) -> Iterator[Session]:
    with open_session(built) as opened:
        yield opened


def right(batch: Any) -> Any:
    return tiny.reference_logits("tensorrt", batch)


def test_a_batch_is_copied_computed_copied_back_and_waited_for_in_this_order(session: Session, gpu: FakeGpu) -> None:
    gpu.cudart.calls.clear()
    session(tiny.random_pixels(2))
    work = [name for name in gpu.cudart.calls if "Memcpy" in name or "Synchronize" in name]
    assert work == ["cudaMemcpyAsync", "cudaMemcpyAsync", "cudaStreamSynchronize"]


def test_the_second_batch_of_a_size_is_recorded_and_later_ones_replay_it(session: Session, gpu: FakeGpu) -> None:
    batches = [tiny.random_pixels(2, seed=seed) for seed in range(4)]
    seen = []
    for batch in batches:
        gpu.cudart.calls.clear()
        assert tiny.close_to(session(batch), right(batch))
        seen.append(("cudaStreamBeginCapture" in gpu.cudart.calls, "cudaGraphLaunch" in gpu.cudart.calls))
    assert seen == [(False, False), (True, True), (False, True), (False, True)]


def test_each_batch_size_has_a_graph_and_a_context_of_its_own(session: Session, gpu: FakeGpu) -> None:
    for size in (1, 3, 1, 3, 1, 3):
        batch = tiny.random_pixels(size, seed=size)
        assert tiny.close_to(session(batch), right(batch))
    assert gpu.trt.contexts == 2
    assert list(gpu.cudart.live.values()).count("executable") == 2


def test_no_more_batch_sizes_than_a_few_keep_memory(gpu: FakeGpu, tmp_path: Path) -> None:
    many = MOST_SHAPES + 3
    bundle = build(tiny.build(tmp_path / "net", "tensorrt"), BuildSettings(max_batch=many)).bundle
    with open_session(bundle) as session:
        for size in [*range(1, many + 1)] * 2:
            for seed in range(2):
                batch = tiny.random_pixels(size, seed=seed)
                assert tiny.close_to(session(batch), right(batch))
            assert list(gpu.cudart.live.values()).count("executable") <= MOST_SHAPES


def test_what_can_not_be_recorded_runs_without_a_graph(session: Session, gpu: FakeGpu) -> None:
    gpu.cudart.fail["cudaGraphInstantiate"] = [901]
    for seed in range(4):
        batch = tiny.random_pixels(2, seed=seed)
        assert tiny.close_to(session(batch), right(batch))
    assert "cudaGraphLaunch" not in gpu.cudart.calls


@pytest.mark.parametrize("count", [1, LARGEST, LARGEST + 1, 3 * LARGEST + 2])
def test_batches_above_the_maximum_go_in_chunks(count: int, session: Session) -> None:
    batch = tiny.random_pixels(count)
    outputs = session(batch)
    assert (outputs.shape, outputs.dtype, outputs.flags.owndata) == ((count, 3), np.float32, True)
    assert tiny.close_to(outputs, right(batch))


def test_chunks_overlap_one_is_submitted_before_the_other_is_waited_for(session: Session, gpu: FakeGpu) -> None:
    gpu.cudart.calls.clear()
    session(tiny.random_pixels(3 * LARGEST))
    work = ["wait" if "Synch" in name else "copy" for name in gpu.cudart.calls if "Memcpy" in name or "Synch" in name]
    assert work == [*["copy"] * 4, "wait", *["copy"] * 2, "wait", "wait"]


def test_a_stream_of_batches_is_computed_in_order_each_in_its_own_array(session: Session) -> None:
    sizes = [1, 4, 2, 9, 3, 1, 1, 1, 1, 4, 2]
    batches = [tiny.random_pixels(size, seed=place) for place, size in enumerate(sizes)]
    outputs = list(session.stream(iter(batches)))
    assert [len(output) for output in outputs] == sizes
    assert all(tiny.close_to(output, right(batch)) for output, batch in zip(outputs, batches, strict=True))


def test_a_stream_that_is_left_half_read_disturbs_nobody(session: Session) -> None:
    batch = tiny.random_pixels(2)
    stream = session.stream(iter([batch] * 20))
    next(stream)
    assert tiny.close_to(session(batch), right(batch))
    assert tiny.close_to(next(stream), right(batch))


def test_a_stream_refuses_a_wrong_batch(session: Session) -> None:
    with pytest.raises(UsageError, match="wanted a batch"):
        list(session.stream([tiny.random_pixels(2), np.zeros((1, 2, 2, 3), np.uint8)]))


def test_8_threads_get_what_a_serial_caller_gets(session: Session) -> None:
    batches = [tiny.random_pixels(1 + place % 7, seed=place) for place in range(64)]
    serial = [session(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session, batches))
    assert all(np.array_equal(one, other) for one, other in zip(serial, together, strict=True))


def test_close_frees_everything_and_later_use_is_a_clear_error(built: Bundle, gpu: FakeGpu) -> None:
    session = open_session(built)
    engine = session.check_usable()
    for _ in range(3):
        session(tiny.random_pixels(2 * LARGEST))
    assert sorted(gpu.cudart.live.values()).count("stream") == 2
    session.close()
    assert (gpu.cudart.live, gpu.cudart.faults) == ({}, [])
    with pytest.raises(BackendError, match="closed; open the bundle again"):
        engine.infer(tiny.random_pixels(1))


@pytest.mark.parametrize(
    "function",
    ["cudaMalloc", "cudaMallocHost", "cudaStreamCreateWithFlags", "cudaMemcpyAsync", "cudaStreamSynchronize"],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_error_midway_is_raised_frees_all_and_the_session_serves_on(
    function: str, before: int, built: Bundle, gpu: FakeGpu
) -> None:
    batch = tiny.random_pixels(3 * LARGEST)
    with open_session(built) as session:
        gpu.cudart.fail[function] = [*[0] * before, 719]
        calls = len(gpu.cudart.calls)
        try:
            session(batch)
        except BackendError as error:
            assert f"{function} failed: CUDA error 719" in str(error)
        else:
            assert gpu.cudart.calls[calls:].count(function) <= before  # it was not called that often
        gpu.cudart.fail.clear()
        assert tiny.close_to(session(batch), right(batch))
    assert (gpu.cudart.live, gpu.cudart.faults) == ({}, [])


def test_a_session_that_is_closed_after_an_error_has_no_work_left(built: Bundle, gpu: FakeGpu) -> None:
    with open_session(built) as session:
        gpu.cudart.fail["cudaMemcpyAsync"] = [0, 0, 0, 719]  # the first slot has its batch by then
        with pytest.raises(BackendError, match="cudaMemcpyAsync failed"):
            session(tiny.random_pixels(3 * LARGEST))
    assert (gpu.cudart.live, gpu.cudart.faults) == ({}, [])


def test_an_engine_that_can_not_run_is_reported_in_tensorrts_words(session: Session, gpu: FakeGpu) -> None:
    gpu.trt.run_errors = ["Cask launch\n  failed"]
    with pytest.raises(BackendError, match="TensorRT can't run the engine: Cask launch failed"):
        session(tiny.random_pixels(1))
    gpu.trt.run_errors = []
    batch = tiny.random_pixels(1)
    assert tiny.close_to(session(batch), right(batch))


def test_an_engine_that_can_not_be_recorded_for_an_error_of_its_own_still_runs(session: Session, gpu: FakeGpu) -> None:
    batch = tiny.random_pixels(1)
    session(batch)
    gpu.trt.run_errors = ["not permitted while a stream is capturing"]
    with pytest.raises(BackendError, match="while a stream is capturing"):
        session(batch)
    gpu.trt.run_errors = []
    assert tiny.close_to(session(batch), right(batch))


def test_without_a_gpu_tensorrt_is_never_touched(built: Bundle, gpu: FakeGpu) -> None:
    gpu.cudart.gpus = 0
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        open_session(built)
    assert gpu.trt.touched == []


def test_it_runs_on_cuda_alone(built: Bundle, gpu: FakeGpu) -> None:
    with open_session(built, SessionOptions(device="cuda")) as session:
        assert session.facts["device"] == "cuda (Orin)"
    with pytest.raises(BackendError, match="no device 'cpu' for tensorrt, which runs on cuda"):
        open_session(built, SessionOptions(device="cpu"))


@pytest.mark.parametrize("device", ["dla", "dla:0"])
def test_the_dla_is_refused_in_one_sentence(device: str, built: Bundle, gpu: FakeGpu) -> None:
    with pytest.raises(BackendError, match="on the GPU, never on a Jetson's DLA; leave --device out"):
        open_session(built, SessionOptions(device=device))


def test_a_stale_engine_is_not_loaded_and_the_fix_is_named(built: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.__version__ = "10.7.0"
    with FakeGpu(gpu.cudart, gpu.trt).installed(), pytest.raises(BackendError) as raised:
        open_session(built)
    for words in (
        "is built, but not for this machine",
        "built with TensorRT 10.3.0, this machine has 10.7.0",
        f"edgeclf build {built.path}",
        "--rebuild-if-stale",
    ):
        assert words in str(raised.value)
    assert gpu.trt.touched == []


def test_another_gpu_of_the_same_kind_is_remarked(built: Bundle, gpu: FakeGpu) -> None:
    gpu.cudart.name = "Orin Nano"
    with open_session(built) as session:
        assert "built on Orin (" in session.facts["remarks"]


def test_an_engine_that_tensorrt_refuses_is_a_backend_error(built: Bundle, gpu: FakeGpu) -> None:
    gpu.trt.numbers = bytes([10, 7, 0, 23])
    with pytest.raises(BackendError, match=r"TensorRT 10.3.0 can't load this engine: the plan is of another version"):
        open_session(built)


def test_an_engine_of_other_tensors_than_the_manifest_promises_is_refused_and_freed(
    built: Bundle, gpu: FakeGpu
) -> None:
    other = TensorSpec("pixels", "uint8", "NHWC", ("batch", 16, 16, 3))
    with pytest.raises(BundleError, match=r"pixels is uint8 of \(8, 8, 3\) an image, the manifest says uint8 of \(16,"):
        open_session(tiny.reseal(built.path, inputs=(other,)))


def test_an_old_jetpack_is_refused(built: Bundle, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf_runtime.backends.tensorrt.backend.jetson_refusal", lambda: "too old a JetPack")
    with pytest.raises(BackendError, match="too old a JetPack"):
        open_session(built)


def test_a_fixed_batch_is_one_shape(gpu: FakeGpu, tmp_path: Path) -> None:
    bundle = build(tiny.build(tmp_path / "net", "tensorrt", batch=4)).bundle
    batch = tiny.random_pixels(6)
    with open_session(bundle) as session:
        assert tiny.close_to(session(batch), right(batch))
    assert gpu.trt.configs[0].profiles == []


def test_an_execution_slot_that_could_not_be_opened_is_opened_by_the_next_call(built: Bundle, gpu: FakeGpu) -> None:
    with open_session(built) as session:
        gpu.cudart.fail["cudaMallocHost"] = [2]
        with pytest.raises(BackendError, match="out of memory"):
            session(tiny.random_pixels(1))
        assert gpu.cudart.live == {}
        assert session(tiny.random_pixels(1)).shape == (1, 3)


def test_two_machines_of_another_capability_do_not_share_an_engine(built: Bundle) -> None:
    other = FakeCudart(name="Thor", capability=(11, 0))
    with FakeGpu(other, FakeTensorRT(other)).installed(), pytest.raises(BackendError, match=r"this is Thor \(compute"):
        open_session(built)


def test_the_engine_keeps_the_streaming_protocol(built: Bundle) -> None:
    with open_session(built) as session:
        assert isinstance(session.check_usable(), TrtEngine)
