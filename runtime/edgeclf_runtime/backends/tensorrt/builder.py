"""An ONNX graph becomes a TensorRT plan: one strongly typed network, one optimisation profile over the batch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from edgeclf_runtime.backends.audit import Work
from edgeclf_runtime.backends.native_output import STDOUT, printed_aside
from edgeclf_runtime.backends.tensorrt.cuda import Gpu, open_cuda
from edgeclf_runtime.backends.tensorrt.library import Library, Messages
from edgeclf_runtime.backends.tensorrt.macs import network_work
from edgeclf_runtime.backends.tensorrt.parser_errors import refusals
from edgeclf_runtime.backends.tensorrt.timing_cache import read_timing_cache, timing_cache_path, write_timing_cache
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import BackendError, BundleError, UsageError

MOST_IN_A_BATCH = 4096
_WORKSPACE_CAP_MIB = {"integrated": 1024, "discrete": 4096}  # a classifier's layers need less
_LEAST_WORKSPACE_MIB = 64
_TIGHT_MIB = 2048  # under this much free memory a build was reported to be killed on boards of 4 and 8 GB
_SWAP_ADVICE = "close other programs (the desktop: sudo systemctl isolate multi-user.target), or add swap on the disk"
_KEPT_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a plan is built for.

    Attributes
    ----------
    opt_batch, max_batch
        Images that the engine is tuned for, and the most that one call takes; longer batches are cut.
    workspace_mib
        Most memory that a layer may use for its own purposes; None: from what is free, with a cap.
    tf32
        Let fp32 convolutions drop 13 bits of the mantissa on Ampere and newer. Off: fp32 means fp32.
    version_compatible
        A plan that newer TensorRTs of the same major version load too (a lean runtime inside, slower).
    hardware_compatible
        A plan for every desktop GPU from Ampere on, not just for this one (slower; not on a Jetson).
    """

    opt_batch: int = 1
    max_batch: int = 16
    workspace_mib: int | None = None
    tf32: bool = False
    version_compatible: bool = False
    hardware_compatible: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.opt_batch <= self.max_batch <= MOST_IN_A_BATCH:
            raise UsageError(
                f"the batch to tune for must be 1 to the largest batch, and that at most {MOST_IN_A_BATCH}; found "
                f"{self.opt_batch} and {self.max_batch}"
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"a workspace has at least 1 MiB, found {self.workspace_mib}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialized engine as TensorRT gave it, which trtexec loads too, and what was noticed on the way.

    `work` are its convolutions and matrix products, typed as the graph has them.
    """

    data: bytes = field(repr=False)
    seconds: float
    warnings: tuple[str, ...]
    work: tuple[Work, ...] = field(default=(), repr=False)


def build_plan(onnx: bytes, where: str, settings: BuildSettings, library: Library) -> Plan:
    """The plan of `onnx`, a whole ONNX file; `where` opens the messages.

    TensorRT is only touched where CUDA has a GPU. TensorRT-RTX builds without one, for any GPU that it knows.

    Raises
    ------
    BundleError
        The parser refuses the graph: a sentence for each node. Or more than the batch varies.
    BackendError
        There is no GPU, not enough memory, or TensorRT can't do what the settings require.
    """
    refuse_external_data(onnx, where)
    gpu = open_cuda().require_gpu() if library.flavour == "tensorrt" else None
    _refuse_for_rtx(library, settings)
    trt = library.module
    with library.listening() as messages:
        builder = trt.Builder(library.log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        _parse(trt, library, network, onnx, where)
        work = tuple(network_work(trt, network))
        config, advice = _configure(trt, builder, settings, gpu)
        _add_profile(builder, config, network, settings, where)
        cache = timing_cache_path(library, gpu)
        if cache is not None:
            read_timing_cache(config, cache)
        start = time.perf_counter()
        with printed_aside(STDOUT) as printed:
            plan = builder.build_serialized_network(network, config)
        seconds = time.perf_counter() - start
        if plan is None:
            raise _failure(where, messages, gpu)
        if cache is not None:
            write_timing_cache(config, cache)
    warnings = (*advice, *dict.fromkeys([*messages.warnings, *printed]))[:_KEPT_WARNINGS]
    return Plan(bytes(plan), seconds, warnings, work)


def workspace_mib(gpu: Gpu) -> int:
    """Half of what is free, with a cap: a Jetson's GPU shares its memory with everything else."""
    cap = _WORKSPACE_CAP_MIB["integrated" if gpu.integrated else "discrete"]
    return max(_LEAST_WORKSPACE_MIB, min(cap, gpu.free_mib // 2))


def _parse(trt: Any, library: Library, network: Any, onnx: bytes, where: str) -> None:
    parser = trt.OnnxParser(network, library.log)
    if not parser.parse(onnx):
        found = refusals(parser) or ("it gives no reason",)
        raise BundleError(f"{where}: TensorRT can't take this graph: {'; '.join(found)}")
    if network.num_inputs != 1 or network.num_outputs < 1:
        raise BundleError(
            f"{where}: wanted one input and an output, TensorRT sees {network.num_inputs} and {network.num_outputs}"
        )


def _configure(trt: Any, builder: Any, settings: BuildSettings, gpu: Gpu | None) -> tuple[Any, tuple[str, ...]]:
    """The builder's configuration, and advice on memory where it is tight."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the inspector knows no precisions
    if settings.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    workspace = settings.workspace_mib or (workspace_mib(gpu) if gpu else None)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    return config, _memory_advice(workspace, gpu)


def _memory_advice(workspace: int | None, gpu: Gpu | None) -> tuple[str, ...]:
    if gpu is None:
        return ()
    advice = []
    if gpu.free_mib < _TIGHT_MIB:
        advice.append(f"only {gpu.free_mib} of {gpu.total_mib} MiB are free; if the build is killed, {_SWAP_ADVICE}")
    if workspace is not None and workspace > gpu.free_mib:
        advice.append(f"a workspace of {workspace} MiB was requested, {gpu.free_mib} MiB are free")
    return tuple(advice)


def _add_profile(builder: Any, config: Any, network: Any, settings: BuildSettings, where: str) -> None:
    """One profile over the batch; a graph whose batch is fixed needs none."""
    entry = network.get_input(0)
    shape = tuple(entry.shape)
    if any(size < 0 for size in shape[1:]):
        raise BundleError(f"{where}: the input {entry.name} has the shape {shape}; only the batch (the first) may vary")
    if shape[0] >= 0:
        return
    profile = builder.create_optimization_profile()
    item = shape[1:]
    profile.set_shape(entry.name, (1, *item), (settings.opt_batch, *item), (settings.max_batch, *item))
    if config.add_optimization_profile(profile) < 0:
        raise BackendError(f"{where}: TensorRT refuses batches of 1 to {settings.max_batch} for {entry.name} {shape}")


def _refuse_for_rtx(library: Library, settings: BuildSettings) -> None:
    if library.flavour == "tensorrt-rtx" and (settings.version_compatible or settings.hardware_compatible):
        raise UsageError(
            "TensorRT-RTX makes no version-compatible or hardware-compatible plans: its plans fit every RTX GPU as "
            "they are; leave the option out"
        )


def _failure(where: str, messages: Messages, gpu: Gpu | None) -> BackendError:
    text = "; ".join(dict.fromkeys(" ".join(line.split())[:300] for line in messages.errors[-3:])) or "no reason given"
    if any("memory" in text.lower() for text in messages.errors):
        free = f" ({gpu.free_mib} of {gpu.total_mib} MiB were free)" if gpu else ""
        return BackendError(
            f"{where}: TensorRT ran out of memory{free}; {_SWAP_ADVICE}, or give a smaller --workspace or --max-batch. "
            f"TensorRT reports: {text}"
        )
    return BackendError(f"{where}: TensorRT can't build the engine: {text}")
