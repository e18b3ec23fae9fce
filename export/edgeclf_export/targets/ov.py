"""OpenVINO target: the hub as IR, its weights as fp32 or fp16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf_export.reasons import first_line
from edgeclf_export.targets.target import Built, Hub
from edgeclf_runtime.backends.ov import HINTS, MODEL, compile_settings, import_openvino, read_precision
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BackendError, DataError
from edgeclf_runtime.manifest import Precision


def build(hub: Hub, precision: str, folder: Path) -> Built:
    """fp16 is about storing, and takes what the CPU then computes in; bf16 is about computing."""
    openvino = import_openvino()
    core = openvino.Core()
    try:
        network = core.read_model(model=hub.onnx)
        compiled = core.compile_model(network, "CPU", compile_settings(SessionOptions(device="cpu"), HINTS[precision]))
    except RuntimeError as error:
        raise BackendError(f"OpenVINO can't take this model ({_refused(error)}); export it to onnx instead") from error
    computed = read_precision(compiled)
    if precision == "bf16" and computed != "bf16":
        raise BackendError(f"asked OpenVINO to compute in bf16, this CPU computes in {computed}; export fp32 or fp16")
    stored: Precision = "fp16" if precision == "fp16" else "fp32"
    save(network, folder, compress=stored == "fp16")
    return Built(stored, computed)  # type: ignore[arg-type]


def save(network: Any, folder: Path, *, compress: bool) -> None:
    """Writes the network as IR; `compress`: its float weights as fp16. Raises DataError."""
    try:
        import_openvino().save_model(network, folder / MODEL, compress_to_fp16=compress)
    except RuntimeError as error:
        raise DataError(f"{folder.name} can't be written: {first_line(error)}; is the disk full?") from error


def _refused(error: RuntimeError) -> str:
    """The line that names the operator, if there is one; OpenVINO's first lines name its own source files."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "operations:" in line), lines[-1])
