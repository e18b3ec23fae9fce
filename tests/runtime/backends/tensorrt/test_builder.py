"""Plans: built for real by TensorRT-RTX where it is installed, and what a builder is given, by a stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
from fake_gpu import FakeGpu

from edgeclf_runtime.backends.audit import Work
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings, build_plan, workspace_mib
from edgeclf_runtime.backends.tensorrt.cuda import Gpu
from edgeclf_runtime.backends.tensorrt.library import Library, import_rtx
from edgeclf_runtime.backends.tensorrt.plan import plan_version
from edgeclf_runtime.backends.tensorrt.timing_cache import timing_cache_path
from edgeclf_runtime.errors import BackendError, BundleError, UsageError


@pytest.fixture(scope="module")
def rtx() -> Library:
    found = import_rtx()
    if found is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'edgeclf[tensorrt-rtx]'")
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def linear(batch: str | int = "batch") -> bytes:
    model: bytes = tiny.onnx_linear(*tiny.linear_weights(0), batch).SerializeToString()
    return model


def convolutional(precision: str, **changes: Any) -> bytes:
    """uint8 NHWC -> Cast -> two convolutions, one depthwise -> pool -> Gemm -> float logits: a small edge net."""
    from onnx import TensorProto, helper, numpy_helper

    kind = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}[precision]
    dtype = {"fp32": np.float32, "fp16": np.float16}[precision]
    random = np.random.default_rng(0)
    shapes = {"stem": (8, 3, 3, 3), "depthwise": (8, 1, 3, 3), "head": (8, 5)}
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=kind),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "stem"], ["a"], name="net/stem", strides=[2, 2], pads=[1] * 4),
        helper.make_node(
            changes.get("operator", "Relu"), ["a"], ["b"], name="net/act", domain=changes.get("domain", "")
        ),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], name="net/depthwise", group=8, pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "head"], ["f"], name="net/head"),
        helper.make_node("Cast", ["f"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, changes.get("shape", ["batch", 32, 32, 3]))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(random.normal(size=shape).astype(dtype), name) for name, shape in shapes.items()],
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    ).SerializeToString()
    return model


# -- TensorRT-RTX, for real


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_rtx_builds_a_net_without_a_gpu_and_its_work_is_counted(precision: str, rtx: Library) -> None:
    plan = build_plan(convolutional(precision), "net.onnx", BuildSettings(), rtx)
    assert plan_version(plan.data, "net.plan") == rtx.version
    assert plan.work == (
        Work("net/stem", 16 * 16 * 8 * 27, precision),
        Work("net/depthwise", 16 * 16 * 8 * 9, precision),
        Work("net/head", 40, precision),
    )


def test_tensorrt_rtx_builds_a_fixed_batch_without_a_profile(rtx: Library) -> None:
    assert build_plan(linear(batch=4), "net.onnx", BuildSettings(), rtx).data


def test_an_operator_that_tensorrt_lacks_is_named_with_its_node_and_an_alternative(rtx: Library) -> None:
    with pytest.raises(BundleError) as raised:
        build_plan(convolutional("fp32", operator="Det"), "net.onnx", BuildSettings(), rtx)
    message = str(raised.value)
    assert message.startswith("net.onnx: TensorRT can't take this graph: operator Det, node net/act: ")
    assert "instead: compute the determinant outside of the network" in message
    assert "\n" not in message


def test_an_operator_that_nobody_knows_is_named_too(rtx: Library) -> None:
    with pytest.raises(BundleError, match=r"operator Mystery, node net/act: .*; instead: write that part"):
        build_plan(convolutional("fp32", operator="Mystery"), "net.onnx", BuildSettings(), rtx)


def test_a_side_that_varies_is_refused(rtx: Library) -> None:
    onnx = convolutional("fp32", shape=["batch", "height", 32, 3])
    with pytest.raises(BundleError, match=r"images has the shape \(-1, -1, 32, 3\); only the batch"):
        build_plan(onnx, "net.onnx", BuildSettings(), rtx)


def test_tensorrt_rtx_is_given_no_option_that_it_lacks(rtx: Library) -> None:
    for settings in (BuildSettings(version_compatible=True), BuildSettings(hardware_compatible=True)):
        with pytest.raises(UsageError, match="TensorRT-RTX makes no version-compatible or hardware-compatible plans"):
            build_plan(linear(), "net.onnx", settings, rtx)


# -- what a builder is given


def config_of(gpu: FakeGpu, settings: BuildSettings) -> Any:
    build_plan(linear(), "net.onnx", settings, gpu.library)
    return gpu.trt.configs[-1]


def test_the_profile_goes_from_one_image_over_the_best_to_the_largest_batch(gpu: FakeGpu, cache: Path) -> None:
    config = config_of(gpu, BuildSettings(opt_batch=4, max_batch=32))
    assert config.profiles == [{"pixels": ((1, 8, 8, 3), (4, 8, 8, 3), (32, 8, 8, 3))}]


def test_fp32_means_fp32_unless_tf32_is_requested(gpu: FakeGpu, cache: Path) -> None:
    assert config_of(gpu, BuildSettings()).flags == set()
    assert config_of(gpu, BuildSettings(tf32=True)).flags == {"TF32"}


def test_compatible_plans_are_made_on_request(gpu: FakeGpu, cache: Path) -> None:
    config = config_of(gpu, BuildSettings(version_compatible=True, hardware_compatible=True))
    assert config.flags == {"VERSION_COMPATIBLE"}
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert not hasattr(config_of(gpu, BuildSettings()), "hardware_compatibility_level")


def test_the_inspector_will_know_the_precisions(gpu: FakeGpu, cache: Path) -> None:
    assert config_of(gpu, BuildSettings()).profiling_verbosity.name == "DETAILED"


@pytest.mark.parametrize(
    ("integrated", "free", "workspace"),
    [(True, 6000, 1024), (True, 1000, 500), (True, 60, 64), (False, 20000, 4096), (False, 3000, 1500)],
)
def test_the_workspace_follows_from_free_memory_with_a_cap(integrated: bool, free: int, workspace: int) -> None:
    assert workspace_mib(Gpu("g", "8.7", 8, integrated, "12.6", "12.6", free, 24000)) == workspace


def test_a_requested_workspace_is_used_with_a_warning_where_there_is_less(gpu: FakeGpu, cache: Path) -> None:
    plan = build_plan(linear(), "net.onnx", BuildSettings(workspace_mib=5000), gpu.library)
    assert gpu.trt.configs[-1].limits == {"WORKSPACE": 5000 << 20}
    assert plan.warnings == ("a workspace of 5000 MiB was requested, 4000 MiB are free",)


def test_a_small_board_gets_advice_on_swap(gpu: FakeGpu, cache: Path) -> None:
    gpu.cudart.free_mib, gpu.cudart.total_mib = 900, 3900
    (advice,) = build_plan(linear(), "net.onnx", BuildSettings(), gpu.library).warnings
    assert "only 900 of 3900 MiB are free" in advice and "add swap" in advice


def test_without_a_gpu_tensorrt_is_never_touched(gpu: FakeGpu, cache: Path) -> None:
    gpu.cudart.gpus = 0
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    assert gpu.trt.touched == []


def test_every_error_of_the_parser_becomes_a_sentence(gpu: FakeGpu, cache: Path) -> None:
    def error(operator: str, name: str, code: str, text: str) -> Any:
        return SimpleNamespace(
            node_operator=lambda: operator,
            node_name=lambda: name,
            node=lambda: 7,
            code=lambda: f"ErrorCode.{code}",
            desc=lambda: text,
        )

    gpu.trt.parse_errors = [
        error("QLinearConv", "", "UNSUPPORTED_NODE", "false"),
        error("Resize", "up", "UNSUPPORTED_NODE_ATTR", "antialias != 0"),
        error("", "", "MODEL_DESERIALIZE_FAILED", ""),
    ]
    with pytest.raises(BundleError) as raised:
        build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    assert str(raised.value) == (
        "net.onnx: TensorRT can't take this graph: operator QLinearConv, node number 7: TensorRT has no such operator; "
        "instead: QuantizeLinear and DequantizeLinear around Conv; operator Resize, node up: TensorRT does not take "
        "this attribute (antialias != 0); instead: write that part of the network with other operators; it is not an "
        "ONNX file that TensorRT can read"
    )


def test_a_build_that_runs_out_of_memory_says_what_to_try(gpu: FakeGpu, cache: Path) -> None:
    gpu.trt.build_errors = ["[defaultAllocator.cpp::allocate::31] Cuda Runtime (out of memory)"]
    with pytest.raises(BackendError) as raised:
        build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    for words in ("ran out of memory (4000 of 7600 MiB were free)", "add swap", "--workspace", "--max-batch"):
        assert words in str(raised.value)


def test_another_failure_carries_tensorrts_own_words(gpu: FakeGpu, cache: Path) -> None:
    gpu.trt.build_errors = ["Error Code 10: Could not find any\n implementation for node {head}"]
    with pytest.raises(BackendError, match="can't build the engine: Error Code 10: Could not find any implementation"):
        build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)


def test_tensorrts_warnings_are_kept_once_each(gpu: FakeGpu, cache: Path) -> None:
    gpu.trt.build_warnings = ["slow", "slow", "other"]
    assert build_plan(linear(), "net.onnx", BuildSettings(), gpu.library).warnings == ("slow", "other")


def test_timings_are_kept_for_the_next_build_by_version_and_gpu(gpu: FakeGpu, cache: Path) -> None:
    build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    (kept,) = cache.rglob("*.timing")
    assert kept == cache / "edgeclf/tensorrt/10.3.0-Orin-sm8.7-cuda12.6.timing"
    build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    assert [config.timings for config in gpu.trt.configs] == [[b""], [b"timings"]]


def test_timings_that_do_not_fit_are_started_afresh(gpu: FakeGpu, cache: Path) -> None:
    path = timing_cache_path(gpu.library, gpu.cuda.require_gpu())
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(b"foreign")
    build_plan(linear(), "net.onnx", BuildSettings(), gpu.library)
    assert gpu.trt.configs[-1].timings == [b"foreign", b""]
    assert path.read_bytes() == b"timings"


def test_a_cache_that_can_not_be_written_only_makes_the_next_build_slower(gpu: FakeGpu, cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    assert build_plan(linear(), "net.onnx", BuildSettings(), gpu.library).data


@pytest.mark.parametrize(
    "wrong", [{"opt_batch": 0}, {"opt_batch": 17}, {"max_batch": 5000}, {"workspace_mib": 0}, {"max_batch": 0}]
)
def test_settings_that_are_not_valid_are_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        BuildSettings(**wrong)  # type: ignore[arg-type]


def test_a_plan_too_short_for_its_version_is_a_bundle_error() -> None:
    with pytest.raises(BundleError, match="27 bytes are no TensorRT plan"):
        plan_version(bytes(27), "model.plan")
    assert plan_version(bytes(24) + bytes([10, 3, 0, 26]), "model.plan") == "10.3.0.26"
