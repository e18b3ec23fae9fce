"""Asks each engine for its version and devices in a process of its own: one that crashes on import is only reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from edgeclf_runtime.errors import BackendError, one_line
from edgeclf_runtime.session import BACKENDS

_PROBE_LIMIT_S = 120


def probe_engines(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each engine says of itself, asked side by side."""
    started = {name: _start_probe(name) for name in names}
    return {name: _finish_probe(process) for name, process in started.items()}


def _start_probe(name: str) -> subprocess.Popen[str]:
    # the child sees the modules that this process sees, and none from the folder it happens to stand in
    path = "import sys; sys.path[:] = [p for p in sys.path if p]"
    code = f"{path}; from edgeclf.doctor.engine_probe import probe; probe({name!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def _finish_probe(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        output, _ = process.communicate(timeout=_PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"its import takes longer than {_PROBE_LIMIT_S} s"}
    if process.returncode < 0:
        return {"error": f"its import crashes ({signal.Signals(-process.returncode).name})"}
    try:
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"its import ends the process (exit code {process.returncode})"}
    return found


def probe(name: str) -> None:
    """Runs in a child process: imports one engine and prints its version and devices as a line of JSON."""
    try:
        found = _PROBES[name]() if name in _PROBES else _probe_module(BACKENDS[name].module)
    except Exception as error:  # whatever a broken install raises is the finding
        found = {"error": one_line(error, 300)}
    print("\n" + json.dumps(found))


def _probe_onnx() -> dict[str, Any]:
    from edgeclf_runtime.backends.ort import PROVIDERS, import_onnxruntime

    onnxruntime = import_onnxruntime()
    offered = onnxruntime.get_available_providers()
    return {
        "version": onnxruntime.__version__,
        "devices": [device for device, provider in PROVIDERS.items() if provider in offered],
        "telemetry_off": os.environ.get("ORT_DISABLE_TELEMETRY") == "1",
    }


def _probe_openvino() -> dict[str, Any]:
    from edgeclf_runtime.backends.ov import import_openvino

    openvino = import_openvino()
    return {"version": openvino.__version__, "devices": [name.lower() for name in openvino.Core().available_devices]}


def _probe_tensorrt() -> dict[str, Any]:
    from edgeclf_runtime.backends.tensorrt.cuda import open_cuda
    from edgeclf_runtime.backends.tensorrt.library import import_tensorrt

    try:
        missing = "" if open_cuda().device_count() else "there is no NVIDIA GPU with its driver here"
    except BackendError as error:
        missing = str(error).partition(";")[0]
    if missing:  # TensorRT crashes where there is no GPU, so it is not even imported
        return {"version": _tensorrt_version(), "devices": [], "detail": missing}
    library = import_tensorrt()
    name = "" if library.flavour == "tensorrt" else "RTX "
    return {"version": f"{name}{library.version}", "devices": ["cuda"]}


def _tensorrt_version() -> str | None:
    from edgeclf_runtime.machine.facts import package_version

    rtx = package_version("tensorrt-rtx-cu13-bindings") or package_version("tensorrt-rtx")
    return package_version("tensorrt") or (f"RTX {rtx}" if rtx else None)


def _probe_pytorch() -> dict[str, Any]:
    import torch

    return {"version": torch.__version__, "devices": ["cpu"] + ["cuda"] * torch.cuda.is_available()}


def _probe_module(name: str) -> dict[str, Any]:
    return {"version": import_module(name).__version__, "devices": ["cpu"]}


_PROBES = {
    "onnx": _probe_onnx,
    "openvino": _probe_openvino,
    "pytorch": _probe_pytorch,
    "tensorrt": _probe_tensorrt,
}
