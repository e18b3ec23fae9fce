"""TensorRT target: the ONNX graph for a strongly typed network. Portable: `edgeclf build` makes an engine of it."""

from __future__ import annotations

import json
from pathlib import Path

from edgeclf_export.graph.casting import BF16_OPSET, cast_graph
from edgeclf_export.targets import ort
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.target import Built, ExportGraph, OnDevice, Served, Target
from edgeclf_export.targets.tensorrt.engine_here import build_here, why_no_engine_here
from edgeclf_export.targets.tensorrt.graph_session import ABOUT, open_graph
from edgeclf_export.targets.tensorrt.lint import Finding, check_graph
from edgeclf_export.targets.tensorrt.quantizer import quantize, rest_in_fp16
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings, build_plan
from edgeclf_runtime.backends.tensorrt.engine_info import ENGINE_INFO, read_engine_info
from edgeclf_runtime.backends.tensorrt.library import import_rtx
from edgeclf_runtime.backends.tensorrt.plan import PLAN
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.deploy.build import MODEL, SETTINGS
from edgeclf_runtime.errors import UsageError

_NO_RTX = (
    "not parsed by TensorRT: TensorRT-RTX, which does that without a GPU, is not installed (install "
    "edgeclf[tensorrt-rtx])"
)
_BF16 = f"bf16 is ONNX opset {BF16_OPSET}: not for TensorRT 10.3 (JetPack 6), nor for GPUs before Ampere"


def build(export_graph: ExportGraph, precision: str, folder: Path) -> Built:
    """Casts the graph, since TensorRT computes in its types. Linted before, too: only ONNX's operators can be cast."""
    check_graph(export_graph.onnx)
    return write(
        export_graph.onnx if precision == "fp32" else cast_graph(export_graph.onnx, precision),
        precision,
        export_graph.settings,
        folder,
    )


def write(model: bytes, precision: str, settings: BuildSettings, folder: Path) -> Built:
    """Writes a prepared graph, linted, and built by TensorRT-RTX where that is installed."""
    checks = [_linted(check_graph(model)), _checked_by_rtx(model, settings)]
    if precision == "bf16":
        checks.append(_BF16)
    (folder / MODEL).write_bytes(model)
    (folder / SETTINGS).write_text(json.dumps(to_json(settings), indent=1) + "\n")
    return Built(precision, precision, "portable", tuple(checks))  # type: ignore[arg-type]


def _linted(warnings: tuple[Finding, ...]) -> str:
    if not warnings:
        return "linted for TensorRT: nothing found"
    alike: dict[tuple[str, str], list[Finding]] = {}
    for warning in warnings:
        alike.setdefault((warning.what, warning.instead), []).append(warning)
    findings = (str(first) + (f" ({1 + len(more)} nodes in all)" if more else "") for first, *more in alike.values())
    return f"linted for TensorRT, which accepts the graph, but: {'; '.join(findings)}"


def _checked_by_rtx(model: bytes, settings: BuildSettings) -> str:
    library = import_rtx()
    if library is None:
        return _NO_RTX
    plan = build_plan(model, "the prepared graph", settings, library)
    remarks = f"; remarks: {len(plan.warnings)}, such as: {plan.warnings[0]}" if plan.warnings else ""
    return f"parsed and built by TensorRT-RTX {library.version} in {plan.seconds:.1f} s, without a GPU{remarks}"


def _write_int8(network: Network, recipe: Recipe, folder: Path) -> Built:
    model = quantize(network.export_graph.onnx, network.ranges(recipe.ranges), leave=recipe.leave)
    if recipe.corrected:
        model = network.with_biases_corrected(model)
    return write(rest_in_fp16(model), "int8", network.export_graph.settings, folder)


def _largest_batch(bundle: Bundle) -> int:
    info = read_engine_info(bundle)
    if info.place.flavour != "tensorrt":
        raise UsageError(f"{bundle.path} was built with {info.place.flavour}; Triton loads plans of TensorRT itself")
    return info.batch[2]


def _add_features(folder: Path, width: int) -> None:
    ort.add_features(folder, width)
    check_graph((folder / MODEL).read_bytes())  # TensorRT takes the second output, too


TARGET = Target(
    name="tensorrt",
    precisions=("fp32", "fp16", "bf16"),
    build=build,
    quantizer=Quantizer(methods=("min-max", "percentile", "mse"), lower=("fp16",), write=_write_int8),
    open=open_graph,
    proves=ABOUT,
    on_device=OnDevice("TensorRT", why_no_engine_here, build_here),
    served=Served(
        "tensorrt",
        (PLAN,),
        "KIND_GPU",
        "For the GPU and the TensorRT of engine.json.",
        beside=(ENGINE_INFO,),
        largest_batch=_largest_batch,
    ),
    add_features=_add_features,
    checked_by=ort.TARGET,  # the proof runs the graph in ONNX Runtime anyway, and a build takes seconds
)
