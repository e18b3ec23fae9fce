"""What an engine was built with and for, kept beside it, and how this machine differs from that."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from typing import Literal

from edgeclf_runtime.backends.audit import Audit
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.backends.tensorrt.cuda import Gpu
from edgeclf_runtime.backends.tensorrt.library import Flavour, Library, version_numbers
from edgeclf_runtime.backends.tensorrt.plan import plan_version
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.machine.facts import nvidia_driver

ENGINE_INFO = "engine.json"
_AMPERE = (8, 0)  # hardware-compatible plans run from here on
_OLDEST_RTX = (7, 5)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is built or shall run. `driver`: the kernel driver's version; "" where it reports none."""

    flavour: Flavour
    tensorrt: str
    cuda: str
    driver: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    os: str
    processor: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """engine.json: everything that decides whether `model.plan` may be loaded.

    Attributes
    ----------
    plan_version
        As the plan's own header has it.
    input_name, batch
        The profile: smallest, best and largest batch; all the same where the graph's batch is fixed.
    audit
        What the engine computes in, weighed by work; None: the inspector reported nothing.
    """

    schema: Literal[1]
    place: Place
    plan_version: str
    plan_sha256: str
    onnx_sha256: str
    input_name: str
    batch: tuple[int, int, int]
    settings: BuildSettings
    build_seconds: float
    warnings: tuple[str, ...]
    audit: Audit | None
    created_utc: str

    def to_bytes(self) -> bytes:
        return (json.dumps(to_json(self), indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Difference:
    """How this machine differs in one thing. An error forbids loading the engine, a warning does not."""

    kind: Literal["error", "warning"]
    sentence: str


def place_here(library: Library, gpu: Gpu) -> Place:
    """This machine, as far as an engine cares."""
    return Place(
        flavour=library.flavour,
        tensorrt=library.version,
        cuda=gpu.runtime,
        driver=nvidia_driver() or "",
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        multiprocessors=gpu.multiprocessors,
        os=platform.system(),
        processor=platform.machine(),
    )


def read_engine_info(bundle: Bundle) -> EngineInfo:
    """engine.json of a built bundle. Raises BundleError."""
    where = f"{bundle.path}/{ENGINE_INFO}"
    try:
        return from_json(EngineInfo, json.loads(bundle.read(ENGINE_INFO)), where)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); build the engine again") from error
    except DataError as error:
        raise error if isinstance(error, BundleError) else BundleError(str(error)) from error


def differences(info: EngineInfo, here: Place) -> tuple[Difference, ...]:
    """What would keep the engine from running here, or from running at its best; the most serious first."""
    there, found = info.place, []
    if there.flavour != here.flavour:
        found.append(Difference("error", f"it was built with {_name(there)}, this machine has {_name(here)}"))
    elif difference := _version_difference(info, here):
        found.append(difference)
    for word, was, now in (
        ("operating system", there.os, here.os),
        ("processor", there.processor, here.processor),
    ):
        if was != now:
            found.append(Difference("error", f"it was built for the {word} {was}, this is {now}"))
    if difference := _gpu_difference(info, here):
        found.append(difference)
    if there.cuda.partition(".")[0] != here.cuda.partition(".")[0]:
        found.append(Difference("warning", f"it was built with CUDA {there.cuda}, this machine has {here.cuda}"))
    return tuple(sorted(found, key=lambda difference: difference.kind))


def check_plan(info: EngineInfo, plan: bytes, where: str) -> None:
    """Raises BundleError where the plan is another than the one that engine.json is about."""
    version = plan_version(plan, where)
    if version != info.plan_version:
        raise BundleError(
            f"{where}: its header names TensorRT {version}, {ENGINE_INFO} {info.plan_version}; build it again"
        )
    if hashlib.sha256(plan).hexdigest() != info.plan_sha256:
        raise BundleError(f"{where}: not the plan that {ENGINE_INFO} describes (SHA-256 differs); build it again")


def _version_difference(info: EngineInfo, here: Place) -> Difference | None:
    was, now = version_numbers(info.place.tensorrt), version_numbers(here.tensorrt)
    shared = min(len(was), len(now))  # one package may name the build, another not
    if was[:shared] == now[:shared]:
        return None
    sentence = f"it was built with {_name(info.place)}, this machine has {here.tensorrt}"
    if info.settings.version_compatible and was[0] == now[0] and was < now:
        return Difference("warning", f"{sentence}; version-compatible, so it runs, maybe not at its best")
    return Difference("error", sentence)


def _gpu_difference(info: EngineInfo, here: Place) -> Difference | None:
    there = info.place
    sentence = f"it was built on {_gpu(there)}, this is {_gpu(here)}"
    if there.compute_capability != here.compute_capability:
        capability = version_numbers(here.compute_capability)
        fits_all = there.flavour == "tensorrt-rtx" and capability >= _OLDEST_RTX
        if fits_all or (info.settings.hardware_compatible and capability >= _AMPERE):
            return Difference("warning", f"{sentence}; made to fit both, so it runs, maybe not at its best")
        return Difference("error", sentence)
    if (there.gpu, there.multiprocessors) != (here.gpu, here.multiprocessors):
        return Difference("warning", f"{sentence}; it runs, maybe not at its best")
    return None


def _name(place: Place) -> str:
    return f"{'TensorRT-RTX' if place.flavour == 'tensorrt-rtx' else 'TensorRT'} {place.tensorrt}"


def _gpu(place: Place) -> str:
    return f"{place.gpu} (compute capability {place.compute_capability}, {place.multiprocessors} multiprocessors)"
