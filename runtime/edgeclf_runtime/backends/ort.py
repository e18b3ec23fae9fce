"""ONNX Runtime backend: one ONNX file, checked for external data before the engine sees it.

Its CUDA provider was run on an H200 in fp32 (docs/gpu.md). Its TensorRT provider was never run by the authors: what is
here follows the documentation, and the tests see to it with a stand-in for the session.
https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.backend import Backend, Installed
from edgeclf_runtime.backends.engine import SessionOptions, check_outputs, check_shape
from edgeclf_runtime.bundle import external_data
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import BackendError, BundleError, one_line
from edgeclf_runtime.installing import pip_install

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MODEL = "model.onnx"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_ON_CPU_TOO = "fallback to CPU EP has been explicitly disabled"  # how a session reports that nodes would go to the CPU
# what computes shapes: ONNX Runtime leaves it to the CPU by design, for the GPU would have to hand each number back
_OF_SHAPES = {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Constant", "Range"} | {
    *("ConstantOfShape", "Reshape", "Identity", "Add", "Sub", "Mul", "Div", "Mod", "Floor", "Min", "Max", "Equal"),
    "Where",
}


class OrtEngine:
    """One InferenceSession; its `run` is thread-safe."""

    def __init__(self, session: InferenceSession, version: str, options: SessionOptions, precision: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]
        self.compute_precision = precision
        self.facts = {
            "engine": "onnxruntime",
            "engine_version": version,
            "device": session.get_providers()[0],
            "threads": str(options.thread_count),
        }

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(self._outputs[:1], {self._input: batch})[0]
        return output

    def infer_with_features(self, batch: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        logits, features = self._session.run(self._outputs[:2], {self._input: batch})
        return logits, features

    def close(self) -> None:
        del self._session


def open_engine(bundle: Bundle, options: SessionOptions) -> OrtEngine:
    onnxruntime = import_onnxruntime()
    provider = PROVIDERS[options.device]
    if provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"{provider} is not in this onnxruntime ({onnxruntime.__version__}); install it with: "
            f"{pip_install('gpu')} in an environment without onnxruntime"
        )
    if options.device != "cpu":
        _load_cuda(onnxruntime)
    model = bundle.read(MODEL)
    refuse_external_data(model, f"{bundle.path}/{MODEL}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads_per_stream  # of 1, a call computes in the thread that makes it
    settings.add_session_config_entry("session.load_model_format", "ONNX")
    settings.log_severity_level = 3  # errors; warnings about fallback are turned into errors below
    if options.device != "cpu":
        settings.log_severity_level = 4  # or the error that is raised below is printed too
        settings.add_session_config_entry(*_placement_entry(onnxruntime))
    requested = _provider_options(options.device, bundle.manifest.compute_precision)
    try:
        # enable_fallback=0: else a provider that fails, even in the midst of a run, is replaced by the CPU's
        session = onnxruntime.InferenceSession(model, settings, providers=[(provider, requested)], enable_fallback=0)
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        if _ON_CPU_TOO in str(error):
            raise BackendError(
                f"{bundle.path}: {provider} can't be loaded here, or does not take every node of this model, and the "
                "rest would run on the CPU; leave --device out to run all of it there"
            ) from error
        raise BundleError(f"{bundle.path}/{MODEL}: onnxruntime can't load it ({one_line(error)})") from error
    _check_provider(session, provider, requested)
    if options.device != "cpu" and _tells_placement(onnxruntime):
        _check_placement(session, provider, str(bundle.path))
    manifest = bundle.manifest
    check_shape(f"{bundle.path}/{MODEL}", "input", session.get_inputs()[0].shape, manifest.inputs[0].shape)
    check_outputs(f"{bundle.path}/{MODEL}", [output.shape for output in session.get_outputs()], manifest.outputs)
    # ONNX Runtime has no precision hint: it computes in what the manifest recorded when the graph was audited.
    return OrtEngine(session, onnxruntime.__version__, options, bundle.manifest.compute_precision)


def _load_cuda(onnxruntime: Any) -> None:
    """Loads CUDA's libraries where pip brought them (nvidia-… packages): the dynamic linker does not look there.

    Those that it does not find it prints; the session then says which one is missing.
    """
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls(msvc=False)


def count_weights(bundle: Bundle) -> dict[str, int]:
    """How many weights the ONNX file stores in each precision. Raises BundleError where it is none."""
    return count_in_onnx(bundle, quantized_later=False)


def count_in_onnx(bundle: Bundle, *, quantized_later: bool) -> dict[str, int]:
    """As `external_data.count_weights`, of the bundle's ONNX file."""
    try:
        return external_data.count_weights(bundle.read(MODEL), quantized_later=quantized_later)
    except (IndexError, ValueError) as error:
        raise BundleError(f"{bundle.path}/{MODEL}: not an ONNX file, or a truncated one") from error


def _provider_options(device: str, precision: str) -> dict[str, str]:
    """What decides the precision, by name: the defaults compute fp32 in TF32 on the GPU."""
    if device == "cuda":
        return {"use_tf32": "0"}
    if device == "tensorrt":
        # engines are built as they are needed, not taken from a cache that may be of another TensorRT
        return {
            "trt_fp16_enable": str(int(precision == "fp16")),
            "trt_int8_enable": str(int(precision == "int8")),
            "trt_engine_cache_enable": "0",
        }
    return {}


def _check_provider(session: InferenceSession, provider: str, requested: dict[str, str]) -> None:
    """Raises BackendError where the session has another provider than was requested, or another setting of it."""
    if session.get_providers()[0] != provider:
        raise BackendError(f"requested {provider} of onnxruntime, it fell back to {session.get_providers()[0]}")
    got = session.get_provider_options().get(provider, {})
    for name, value in requested.items():
        if str(got.get(name, value)) != value:
            raise BackendError(f"requested {name} = {value} of {provider}, it took {got[name]}")


def _tells_placement(onnxruntime: Any) -> bool:
    """Whether a session of this version can say which provider got which node."""
    return hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")


def _placement_entry(onnxruntime: Any) -> tuple[str, str]:
    """The setting that shows, or forbids, what would run on the CPU.

    The older way also forbids what only computes shapes, so it refuses a ViT whose batch varies.
    """
    if _tells_placement(onnxruntime):
        return "session.record_ep_graph_assignment_info", "1"
    return "session.disable_cpu_ep_fallback", "1"


def _check_placement(session: InferenceSession, provider: str, where: str) -> None:
    """Raises BackendError where nodes that compute more than shapes would run on the CPU."""
    elsewhere = sorted(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name == PROVIDERS["cpu"]
        for node in part.get_nodes()
        if node.op_type not in _OF_SHAPES
    )
    if elsewhere:
        raise BackendError(
            f"{where}: {provider} does not take {len(elsewhere)} nodes of this model "
            f"({', '.join(dict.fromkeys(elsewhere))}), and they would run on the CPU; leave --device out to run all of "
            "it there"
        )


def import_onnxruntime() -> Any:
    """The module, imported with its telemetry off (on by default on Linux from 1.32). Raises BackendError."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise BACKEND.missing(error) from error
    return onnxruntime


def _probe() -> Installed:
    onnxruntime = import_onnxruntime()
    offered = onnxruntime.get_available_providers()
    devices = tuple(device for device, provider in PROVIDERS.items() if provider in offered)
    return Installed(onnxruntime.__version__, devices, telemetry_off=os.environ.get("ORT_DISABLE_TELEMETRY") == "1")


BACKEND = Backend(
    name="onnx",
    module="onnxruntime",
    oldest="1.18",
    extra="onnx",
    open_engine=open_engine,
    devices=tuple(PROVIDERS),
    count_weights=count_weights,
    load=import_onnxruntime,
    probe=_probe,
    distributions=(
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "onnxruntime-directml",
        "onnxruntime-training",
    ),
    computes_as_stored=True,
)
