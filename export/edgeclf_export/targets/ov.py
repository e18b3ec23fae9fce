"""OpenVINO target: the hub as IR, its weights as fp32 or fp16."""

from __future__ import annotations

from pathlib import Path

from edgeclf_export.targets.target import Built, Hub
from edgeclf_runtime.backends.ov import HINTS, MODEL, compile_settings, import_openvino, read_precision
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.manifest import Precision


def build(hub: Hub, precision: str, folder: Path) -> Built:
    """fp16 is about storing, and takes what the CPU then computes in; bf16 is about computing."""
    openvino = import_openvino()
    core = openvino.Core()
    network = core.read_model(model=hub.onnx)
    stored: Precision = "fp16" if precision == "fp16" else "fp32"
    openvino.save_model(network, folder / MODEL, compress_to_fp16=stored == "fp16")
    compiled = core.compile_model(network, "CPU", compile_settings(SessionOptions(), HINTS[precision]))
    computed = read_precision(compiled)
    if precision == "bf16" and computed != "bf16":
        raise BackendError(f"asked OpenVINO to compute in bf16, this CPU computes in {computed}; export fp32 or fp16")
    return Built(stored, computed)  # type: ignore[arg-type]
