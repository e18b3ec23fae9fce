"""The engine at once, where the export runs on the machine that has the GPU: what `edgeclf build` would do there."""

from __future__ import annotations

from pathlib import Path

from edgeclf_runtime.backends.tensorrt.cuda import open_cuda
from edgeclf_runtime.backends.tensorrt.library import import_tensorrt
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.deploy.build_result import Outcome
from edgeclf_runtime.errors import BackendError
from edgeclf_runtime.machine.facts import gpus, jetson
from edgeclf_runtime.progress import Progress

_NO_GPU = "there is no NVIDIA GPU here"


def why_no_engine_here() -> str | None:
    """The sentence why no engine can be built on this machine; None: it can. CUDA is asked before TensorRT."""
    try:
        if open_cuda().device_count() == 0:
            return _NO_GPU
    except BackendError as reason:  # of interest where the kernel lists a GPU; WSL has one that it does not list
        return str(reason) if gpus() or jetson() else _NO_GPU
    try:
        import_tensorrt()
    except BackendError as reason:
        return str(reason)
    return None


def build_here(portable: Path, force: bool, progress: Progress) -> Outcome:
    """The engine of a portable bundle, in a new bundle beside it, built as its own build.json says."""
    return build(Bundle.open(portable), force=force, progress=progress)
