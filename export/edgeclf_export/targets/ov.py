"""OpenVINO target: the ONNX graph as IR, its weights as fp32 or fp16, or quantized by NNCF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeclf_export.targets import ov_quantizer
from edgeclf_export.targets.ov_audit import audited_work
from edgeclf_export.targets.ov_graph import read, with_features
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.target import Built, ExportGraph, Served, Target
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import (
    HINTS,
    MODEL,
    WEIGHTS,
    compile_settings,
    import_openvino,
    openvino_core,
    read_precision,
)
from edgeclf_runtime.bundle.manifest import Precision
from edgeclf_runtime.errors import BackendError, DataError, one_line


def build(export_graph: ExportGraph, precision: str, folder: Path) -> Built:
    """Writes the IR. fp16 only stores weights, and the CPU decides what it computes in; bf16 is computed in bf16."""
    try:
        network = read(export_graph.onnx)
        settings = compile_settings(SessionOptions(device="cpu"), HINTS[precision])
        compiled = openvino_core().compile_model(network, "CPU", settings)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO can't take this model ({one_line(error)}); export it to onnx instead") from error
    computed = read_precision(compiled)
    if precision == "bf16" and computed != "bf16":
        raise BackendError(f"wanted OpenVINO to compute in bf16, this CPU computes in {computed}; export fp32 or fp16")
    stored: Precision = "fp16" if precision == "fp16" else "fp32"
    save(network, folder, compress=stored == "fp16")
    return Built(stored, computed)  # type: ignore[arg-type]


def save(network: Any, folder: Path, *, compress: bool) -> None:
    """Writes the network as IR; `compress`: its float weights as fp16. Raises DataError."""
    try:
        import_openvino().save_model(network, folder / MODEL, compress_to_fp16=compress)
        openvino_core().read_model(folder / MODEL)  # OpenVINO 2025.0 says nothing when the disk takes only a part
    except RuntimeError as error:
        raise DataError(f"{folder.name} can't be written: {one_line(error)}; is the disk full?") from error


def _write_int8(network: Network, recipe: Recipe, folder: Path) -> Built:
    model = ov_quantizer.quantize(
        network.export_graph.onnx, network.inputs, recipe.ranges, corrected=recipe.corrected, leave=recipe.leave
    )
    save(model, folder, compress=False)
    return Built("int8", "int8")


def add_features(folder: Path, _: int) -> None:
    xml, weights = ((folder / name).read_bytes() for name in (MODEL, WEIGHTS))
    network = openvino_core().read_model(model=xml, weights=weights)  # not from the files: they are written anew
    with_features(network)
    save(network, folder, compress=False)


TARGET = Target(
    name="openvino",
    precisions=("fp32", "fp16", "bf16"),
    build=build,
    quantizer=Quantizer(
        methods=ov_quantizer.METHODS,
        lower=("bf16", "fp16"),
        write=_write_int8,
        needs=("nncf", "openvino"),
        corrects_first=False,
        rest_in_bf16=True,
    ),
    audit=audited_work,
    add_features=add_features,
    served=Served(
        "openvino",
        (MODEL, WEIGHTS),
        "KIND_CPU",
        "The backend has no switch to fp32: on a CPU that has bf16, OpenVINO may compute in that.",
        batches=False,  # its set_batch wants a layout, which the IR of an ONNX file does not have
    ),
)
