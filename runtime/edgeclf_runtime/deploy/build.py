"""Makes a bundle ready on the machine that it shall run on: builds what has to be built there, proves and measures it.

Only TensorRT needs a build: its engine fits one GPU and one TensorRT. The portable bundle stays as it is, so that it
can be built again after an update; the engine comes in a new bundle beside it. Every other bundle runs as it is: it
is verified and measured here.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from edgeclf_runtime.backends.audit import Audit, check_audit
from edgeclf_runtime.backends.engine import OWN_DEVICE, SessionOptions
from edgeclf_runtime.backends.tensorrt.backend import BACKEND
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings, Plan, build_plan
from edgeclf_runtime.backends.tensorrt.cuda import Gpu, open_cuda
from edgeclf_runtime.backends.tensorrt.engine_info import (
    ENGINE_INFO,
    EngineInfo,
    differences,
    place_here,
    read_engine_info,
)
from edgeclf_runtime.backends.tensorrt.inspector import audit_layers
from edgeclf_runtime.backends.tensorrt.library import Library, check_gpu, import_tensorrt, version_numbers
from edgeclf_runtime.backends.tensorrt.plan import PLAN, layer_information, load_plan, plan_version
from edgeclf_runtime.bundle.atomic_write import seal, seal_proven, set_aside, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.proof import TOLERANCES, coarser
from edgeclf_runtime.deploy.build_result import Outcome, beside
from edgeclf_runtime.deploy.candidate_selection import build_fastest, choose_candidate
from edgeclf_runtime.deploy.candidates import TimeCalls, options_for, time_calls
from edgeclf_runtime.deploy.latency import median_call_ms, one_input
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import keep_own_outputs, verify
from edgeclf_runtime.errors import BackendError, BundleError, DataError, GateError, UsageError
from edgeclf_runtime.machine.facts import jetson_refusal, now_utc
from edgeclf_runtime.progress import SILENT, Progress
from edgeclf_runtime.session import open_session

MODEL, SETTINGS = "model.onnx", "build.json"
_BUILT_NAME = re.compile(r"-sm\d+-(?:trt|rtx)[\d.]+$")
_FIRST_WITH_BF16 = (10, 4)
_AMPERE = (8, 0)


def build(
    bundle: str | os.PathLike[str] | Bundle,
    settings: BuildSettings | None = None,
    options: SessionOptions = SessionOptions(),
    *,
    destination: str | Path | None = None,
    force: bool = False,
    progress: Progress = SILENT,
    time: TimeCalls = time_calls,
) -> Outcome:
    """A bundle that runs on this machine, proven and measured here.

    Of a portable TensorRT bundle it builds the engine, in a new bundle; of one with INT8 candidates it takes what is
    fastest here; every other bundle is verified and timed as it is.

    Parameters
    ----------
    bundle
        What to make ready: opened, or the path of its folder or .tar.
    settings
        For TensorRT; None: the bundle's own, else the defaults.
    options
        How to run it here.
    destination
        Folder of the new bundle; None: beside the old one, named after the GPU and TensorRT.
    force
        Replace what is at `destination`.
    progress
        Hears what is being done, a note a sentence.
    time
        Times models side by side, where the bundle has several.

    Returns
    -------
    Outcome
        The bundle that runs here, its proof, and `median_ms` of one image in milliseconds.

    Raises
    ------
    GateError
        The new engine fails its proof or its audit; it is kept aside as NAME.failed.
    BackendError
        There is no GPU or no TensorRT, or TensorRT can't build the engine.

    Examples
    --------
    >>> from edgeclf_runtime import Bundle, build
    >>> outcome = build(Bundle.open("bundles/scenes"))
    >>> outcome.made, outcome.proof.verdict
    (False, 'pass')
    """
    if refusal := jetson_refusal():
        raise BackendError(refusal)
    bundle = Bundle.open(bundle)
    destination = None if destination is None else Path(destination)
    if bundle.manifest.candidates and not needs_build(bundle):
        return choose_candidate(bundle, options, destination, force=force, progress=progress, time=time)
    if needs_build(bundle):
        if options.device != OWN_DEVICE:
            BACKEND.check_device(options.device)  # before the minutes that a build takes
        settings = settings or settings_of(bundle)
        if bundle.manifest.candidates and bundle.manifest.state == "portable":
            gpu, library = _find_gpu_and_tensorrt(bundle)
            place = destination or place_of(bundle, library, gpu)

            def build_one(model: Bundle, place: Path) -> Outcome:
                return _build_engine(model, settings, options_for(model, options), place, force, progress)

            return build_fastest(bundle, place, build_one, options, progress=progress, time=time)
        return _build_engine(bundle, settings, options, destination, force, progress)
    progress.note(
        f"{bundle.path} is built: {bundle.manifest.target} bundles run as they are; verified and measured here"
    )
    proof = verify(bundle, options)
    return Outcome(bundle, False, proof, save_proof(bundle, proof), median_ms(bundle, options))


def needs_build(bundle: Bundle) -> bool:
    """Whether its engine is built on the machine that it shall run on; the others run as they are."""
    return bundle.manifest.target == BACKEND.name


def rebuild_if_stale(bundle: Bundle, options: SessionOptions, progress: Progress) -> Bundle:
    """The bundle itself where it runs here; else one that does: built by an earlier call, or built now."""
    if not needs_build(bundle) or bundle.manifest.state == "portable":
        return bundle
    info = read_engine_info(bundle)
    gpu = open_cuda().require_gpu()
    library = import_tensorrt()
    here = place_here(library, gpu)
    reasons = [each.sentence for each in differences(info, here) if each.kind == "error"]
    if not reasons:
        return bundle
    destination = place_of(bundle, library, gpu)
    progress.warn(f"{bundle.path} is STALE: {'; '.join(reasons)}")
    replaces = False
    if destination.exists():
        earlier = Bundle.open(destination)
        replaces = earlier.manifest.derived_from == _origin(bundle)
        if replaces and not any(each.kind == "error" for each in differences(read_engine_info(earlier), here)):
            progress.note(f"{destination}, built for this machine before, takes its place")
            return earlier
    # after a smaller update the new engine has the old one's name, and takes its place
    return build(bundle, info.settings, options, destination=destination, force=replaces, progress=progress).bundle


def settings_of(bundle: Bundle) -> BuildSettings:
    """The settings that a bundle has for its engine: a built one in engine.json, a portable one in build.json."""
    if ENGINE_INFO in bundle.manifest.files:
        return read_engine_info(bundle).settings
    if SETTINGS not in bundle.manifest.files:
        return BuildSettings()
    where = f"{bundle.path}/{SETTINGS}"
    try:
        return from_json(BuildSettings, parse_json(bundle.read(SETTINGS)), where)
    except ValueError as error:
        raise BundleError(f"{where}: not JSON ({error}); export the bundle again") from error
    except DataError as error:
        raise BundleError(str(error)) from error


def place_of(bundle: Bundle, library: Library, gpu: Gpu) -> Path:
    """NAME-sm87-trt10.3 beside the bundle, whatever machine NAME was built for before."""
    name = _BUILT_NAME.sub("", bundle.name)
    flavour = "rtx" if library.flavour == "tensorrt-rtx" else "trt"
    version = ".".join(library.version.split(".")[:2])
    return beside(bundle) / f"{name}-sm{gpu.compute_capability.replace('.', '')}-{flavour}{version}"


def median_ms(bundle: Bundle, options: SessionOptions) -> float:
    """Median milliseconds of one picture or text through the bundle's engine on this machine."""
    with open_session(bundle, options) as session:
        return median_call_ms([partial(session, one_input(bundle.manifest))])[0]


def _build_engine(
    bundle: Bundle,
    settings: BuildSettings,
    options: SessionOptions,
    destination: Path | None,
    force: bool,
    progress: Progress,
) -> Outcome:
    bundle.check_all()
    gpu, library = _find_gpu_and_tensorrt(bundle)
    _refuse_bf16(bundle, library, gpu)
    place = destination or place_of(bundle, library, gpu)
    if bundle.manifest.state == "portable" and place.resolve() == bundle.path.resolve():
        raise UsageError(f"{place} is the portable bundle itself, which stays as it is; give another --output")
    progress.note(
        f"{bundle.path} is {bundle.manifest.state}; building {place.name} with {library.flavour} {library.version} on "
        f"{gpu.name}, batches of 1 to {settings.max_batch}; this can take minutes"
    )
    with writing(place, force=force) as draft:  # first: an existing destination is refused before minutes of work
        onnx = bundle.read(MODEL)
        plan = build_plan(onnx, f"{bundle.path}/{MODEL}", settings, library)
        audit = _audit(plan, f"{place}/{PLAN}", settings, library)
        info = _engine_info(bundle, onnx, plan, audit, settings, library, gpu)
        manifest = _write(bundle, draft, plan, info)
        manifest = keep_own_outputs(draft, manifest, options)
        proof = verify(Bundle.open(draft), options)
        seal_proven(draft, manifest, proof)
        try:
            doubt = check_audit(audit, manifest.compute_precision, tf32=settings.tf32, where=str(place))
        except GateError as error:
            advice = "see that the graph's casts reach these layers"
            raise GateError(f"{error}; {advice}; kept aside as {set_aside(draft, place)}") from error
        if proof.verdict == "fail":
            reasons = "; ".join(proof.reasons)
            aside = set_aside(draft, place)
            raise GateError(f"{place.name} differs from its reference: {reasons}; kept aside as {aside}")
        latency = median_ms(Bundle.open(draft), options)
    remarks = (*plan.warnings, *([doubt] if doubt else []))
    return Outcome(Bundle.open(place), True, proof, None, latency, audit, remarks)


def _find_gpu_and_tensorrt(bundle: Bundle) -> tuple[Gpu, Library]:
    """In this order: TensorRT crashes where there is no GPU."""
    try:
        gpu, library = open_cuda().require_gpu(), import_tensorrt()
        check_gpu(library, gpu)
        return gpu, library
    except BackendError as error:
        state = "portable" if bundle.manifest.state == "portable" else "built for another machine"
        raise BackendError(f"{bundle.path} is {state}, and no engine can be built here: {error}") from error


def _refuse_bf16(bundle: Bundle, library: Library, gpu: Gpu) -> None:
    """A bf16 graph is of ONNX opset 22: TensorRT 10.3 documents 20 as its newest. And GPUs have bf16 from Ampere on."""
    if bundle.manifest.compute_precision != "bf16":
        return
    if library.flavour == "tensorrt" and version_numbers(library.version) < _FIRST_WITH_BF16:
        lack = f"TensorRT {library.version} (JetPack 6 has 10.3) can't read its opset"
    elif version_numbers(gpu.compute_capability) < _AMPERE:
        lack = f"{gpu.name} (compute capability {gpu.compute_capability}) has no bf16"
    else:
        return
    raise BackendError(f"{bundle.path} computes in bf16, and {lack}; export it again with --precision fp16")


def _audit(plan: Plan, where: str, settings: BuildSettings, library: Library) -> Audit:
    loaded = load_plan(plan.data, where, library, lean_runtime=settings.version_compatible)
    return audit_layers(layer_information(loaded, library), plan.work)


def _engine_info(
    bundle: Bundle, onnx: bytes, plan: Plan, audit: Audit, settings: BuildSettings, library: Library, gpu: Gpu
) -> EngineInfo:
    entry = bundle.manifest.inputs[0]
    fixed = entry.fixed_batch
    return EngineInfo(
        schema=1,
        place=place_here(library, gpu),
        plan_version=plan_version(plan.data, PLAN),
        plan_sha256=hashlib.sha256(plan.data).hexdigest(),
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        input_name=entry.name,
        batch=(fixed, fixed, fixed) if fixed else (1, settings.opt_batch, settings.max_batch),
        settings=settings,
        build_seconds=round(plan.seconds, 2),
        warnings=plan.warnings,
        audit=audit,
        created_utc=now_utc(),
    )


def _write(bundle: Bundle, draft: Path, plan: Plan, info: EngineInfo) -> Manifest:
    """The new bundle's files and its sealed manifest: all of the old one's, with the plan and its engine info."""
    bundle.copy_files(draft)
    (draft / PLAN).write_bytes(plan.data)
    (draft / ENGINE_INFO).write_bytes(info.to_bytes())
    tolerances = bundle.manifest.tolerances
    if info.settings.tf32:  # as many bits of mantissa as fp16
        tolerances = coarser(tolerances, TOLERANCES["fp16"])
    manifest = replace(
        bundle.manifest,
        state="built",
        tolerances=tolerances,
        own=None,
        proof=None,
        built_on=None,
        derived_from=_origin(bundle),
    )
    seal(draft, manifest)
    return manifest


def _origin(bundle: Bundle) -> str:
    """The digest of the portable bundle, also where a bundle built from it is built again."""
    manifest = bundle.manifest
    return bundle.digest if manifest.state == "portable" or manifest.derived_from is None else manifest.derived_from
