"""ONNX Runtime backend: one ONNX file, checked for external data before the engine sees it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions, missing_engine
from edgeclf_runtime.errors import BackendError, BundleError
from edgeclf_runtime.onnx_scan import refuse_external_data

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MODEL = "model.onnx"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OrtEngine:
    """One InferenceSession; its `run` is thread-safe."""

    def __init__(self, session: InferenceSession, version: str, options: SessionOptions, precision: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]
        self.compute_precision = precision
        self.facts = {
            "engine": "onnxruntime",
            "engine_version": version,
            "device": session.get_providers()[0],
            "threads": str(options.thread_count),
        }

    def infer(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(self._outputs, {self._input: batch})[0]
        return output

    def close(self) -> None:
        del self._session


def open_engine(bundle: Bundle, options: SessionOptions) -> OrtEngine:
    onnxruntime = import_onnxruntime()
    provider = PROVIDERS.get(options.device)
    if provider is None:
        raise BackendError(f"no device {options.device!r} for onnx; choose one of {', '.join(PROVIDERS)}")
    if provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"{provider} is not in this onnxruntime ({onnxruntime.__version__}); install it with: "
            "pip install 'edgeclf[gpu]' in an environment without onnxruntime"
        )
    model = bundle.read(MODEL)
    refuse_external_data(model, f"{bundle.path}/{MODEL}")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.thread_count
    settings.add_session_config_entry("session.load_model_format", "ONNX")
    settings.log_severity_level = 3  # errors; warnings about fallback are turned into errors below
    try:
        session = onnxruntime.InferenceSession(model, settings, providers=[provider])
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        raise BundleError(f"{bundle.path}/{MODEL}: onnxruntime can't load it ({_first_line(error)})") from error
    if session.get_providers()[0] != provider:
        raise BackendError(f"asked onnxruntime for {provider}, it fell back to {session.get_providers()[0]}")
    # ONNX Runtime has no precision hint: it computes in what the manifest recorded when the graph was audited.
    return OrtEngine(session, onnxruntime.__version__, options, bundle.manifest.compute_precision)


def import_onnxruntime() -> Any:
    """The module, imported with its telemetry off (on by default on Linux from 1.32). Raises BackendError."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_engine("onnxruntime", "onnx", error) from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
