"""The engine right after the export, where this machine has the GPU: as `edgeclf build` does there."""

from __future__ import annotations

from pathlib import Path

from edgeclf_runtime.backends.tensorrt.cuda import open_cuda
from edgeclf_runtime.backends.tensorrt.library import check_gpu, import_tensorrt
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.deploy.build_result import Outcome
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.machine.facts import gpus, jetson
from edgeclf_runtime.progress import Progress

_NO_GPU = "there is no NVIDIA GPU here"


def why_no_engine_here() -> str | None:
    """The reason why no engine can be built on this machine; None: it can. CUDA is checked before TensorRT."""
    try:
        if open_cuda().device_count() == 0:
            return _NO_GPU
    except BackendError as reason:  # shown only where the kernel lists a GPU; WSL has one that it does not list
        return str(reason) if gpus() or jetson() else _NO_GPU
    try:
        check_gpu(import_tensorrt(), open_cuda().require_gpu())
    except BackendError as reason:
        return str(reason)
    return None


def build_here(portable: Path, force: bool, progress: Progress) -> Outcome:
    """The engine of a portable bundle, in a new bundle beside it, built with the settings of its build.json."""
    return build(Bundle.open(portable), force=force, progress=progress)
