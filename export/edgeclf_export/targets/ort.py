"""ONNX target: the ONNX graph itself, its weights as fp16, or Q/DQ pairs in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeclf_export.graph.features import with_features
from edgeclf_export.targets import ort_quantizer
from edgeclf_export.targets.ort_audit import audited_work
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.target import Built, ExportGraph, Served, Target
from edgeclf_runtime.backends.audit import Work, audit
from edgeclf_runtime.backends.ort import MODEL, import_onnxruntime
from edgeclf_runtime.bundle.manifest import Manifest, Precision


def build(export_graph: ExportGraph, precision: str, folder: Path) -> Built:
    if precision == "int8":  # of a file that is quantized already
        (folder / MODEL).write_bytes(export_graph.onnx)
        return Built("int8", "int8", checks=getattr(export_graph.exportable, "quantized", ()))
    if precision == "fp32":
        (folder / MODEL).write_bytes(export_graph.onnx)
        return Built("fp32", "fp32")
    model = to_fp16(export_graph.onnx)
    (folder / MODEL).write_bytes(model)
    return Built("fp16", computed_precision(model))


def to_fp16(model: bytes) -> bytes:
    """The graph in fp16 between its input and its output, which keep their types."""
    import onnx

    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return bytes(converted.SerializeToString())


def computed_precision(model: bytes) -> Precision:
    """What ONNX Runtime computes an fp16 graph in: a CPU without fp16 kernels gets casts around every node."""
    shares = audit(audited_work(model)).shares
    return "fp16" if shares.get("fp16", 0.0) > shares.get("fp32", 0.0) else "fp32"


def _write_int8(network: Network, recipe: Recipe, folder: Path) -> Built:
    model = ort_quantizer.quantize(network.export_graph.onnx, network.ranges(recipe.ranges), leave=recipe.leave)
    if recipe.corrected:
        model = network.with_biases_corrected(model)
    (folder / MODEL).write_bytes(model)
    return Built("int8", "int8")


def _audit(folder: Path, _: Manifest) -> Iterable[Work]:
    return audited_work((folder / MODEL).read_bytes())


def add_features(folder: Path, width: int) -> None:
    (folder / MODEL).write_bytes(with_features((folder / MODEL).read_bytes(), width))


TARGET = Target(
    name="onnx",
    precisions=("fp32", "fp16"),
    build=build,
    quantizer=Quantizer(methods=("min-max", "percentile", "mse"), lower=("fp16",), write=_write_int8),
    audit=_audit,
    takes_quantized=True,
    add_features=add_features,
    served=Served("onnxruntime", (MODEL,), "KIND_CPU", "On the CPU, as it was proven."),
)
