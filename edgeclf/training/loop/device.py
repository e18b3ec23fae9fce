"""Where a training computes: the device, its type of mixed precision, and what to do when its memory runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf.training.distributed import Processes
from edgeclf_runtime.errors import BackendError, UsageError

if TYPE_CHECKING:
    import torch

_NO_MEMORY = (  # what comes as a plain RuntimeError
    "can't allocate memory",  # c10/core/impl/alloc_cpu.cpp
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # cuDNN 9; ALLOC_FAILED before
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN had no memory to try one in
)


def choose_device(wanted: str, processes: Processes = Processes()) -> torch.device:
    """The GPU where there is one and `wanted` allows it; of several processes each takes its own.

    Raises BackendError for a GPU that is not there.
    """
    import torch

    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device {wanted!r} for training; choose one of auto, cpu, cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BackendError("--device cuda, but torch finds no CUDA GPU; leave --device out to train on the cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if processes.size == 1:
        return torch.device("cuda")
    if processes.local_rank >= (found := torch.cuda.device_count()):
        raise BackendError(f"each process needs a GPU of its own, torch finds {found}; start at most {found} processes")
    torch.cuda.set_device(processes.local_rank)
    return torch.device("cuda", processes.local_rank)


def amp_type(amp: str, device: torch.device) -> torch.dtype | None:
    """The type of mixed precision; "auto" is bf16 on a GPU that has it, and off on a CPU, where it is slower."""
    import torch

    if amp == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    if amp == "fp16" and device.type == "cpu":
        raise UsageError("fp16 training needs a GPU; choose --amp bf16 or off")
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found no memory: its own error on a GPU, a text of CUDA's libraries and of the CPU's allocator."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)


def free_cached() -> None:
    """Gives back what torch's GPU allocator keeps for later; on a CPU it keeps nothing."""
    import torch

    torch.cuda.empty_cache()  # does nothing before CUDA is used
