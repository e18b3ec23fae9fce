"""A serialized engine: its version before it is loaded, and loading it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeclf_runtime.backends.tensorrt.library import Library
from edgeclf_runtime.errors import BackendError, BundleError

PLAN = "model.plan"
_VERSION_AT = 24  # four bytes: major, minor, patch, build; the same in TensorRT and TensorRT-RTX


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """An engine and the runtime that it lives in: the runtime has to be there as long as the engine."""

    runtime: Any
    engine: Any


def plan_version(plan: bytes, where: str) -> str:
    """ "10.3.0.26", read from the plan's header. Raises BundleError for what is too short to have one."""
    version = plan[_VERSION_AT : _VERSION_AT + 4]
    if len(version) < 4:
        raise BundleError(f"{where}: {len(plan)} bytes are no TensorRT plan; build it again")
    return ".".join(str(number) for number in version)


def load_plan(plan: bytes, where: str, library: Library, *, lean_runtime: bool) -> LoadedPlan:
    """The engine in `plan`. CUDA must have a GPU: TensorRT crashes where there is none.

    `lean_runtime` lets a version-compatible plan bring the code of its own small runtime, which TensorRT then runs: as
    trusted as the bundle's hash.
    """
    trt = library.module
    with library.listening() as messages:
        runtime = trt.Runtime(library.log)
        if lean_runtime:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        text = "; ".join(dict.fromkeys(" ".join(line.split())[:300] for line in messages.errors)) or "no reason given"
        raise BackendError(f"{where}: TensorRT {library.version} can't load this engine: {text}")
    return LoadedPlan(runtime, engine)


def layer_information(loaded: LoadedPlan, library: Library) -> str:
    """What the engine inspector reports about every layer, as JSON."""
    trt = library.module
    inspector = loaded.engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
