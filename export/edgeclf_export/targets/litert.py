"""LiteRT target: the torch module as a .tflite for one image at a time, its weights as fp32 or fp16, or in int8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeclf_export.targets import litert_quantizer
from edgeclf_export.targets.litert_convert import float_model
from edgeclf_export.targets.litert_metadata import with_metadata
from edgeclf_export.targets.quantizer import Network, Quantizer, Recipe
from edgeclf_export.targets.target import Built, ExportGraph, Target
from edgeclf_runtime.backends.audit import Work
from edgeclf_runtime.backends.litert import MODEL, open_interpreter
from edgeclf_runtime.backends.litert_graph import pieces, products
from edgeclf_runtime.bundle.manifest import Manifest, Precision


def build(export_graph: ExportGraph, precision: str, folder: Path) -> Built:
    model = float_model(export_graph)
    if precision == "fp32":
        return _written(model, export_graph, folder, "fp32", "fp32")
    return _written(litert_quantizer.to_fp16(model), export_graph, folder, "fp16", "fp32")


def _write_int8(network: Network, recipe: Recipe, folder: Path) -> Built:
    model = litert_quantizer.quantize(network, recipe.ranges, leave=recipe.leave)
    return _written(model, network.export_graph, folder, "int8", "int8")


def _written(model: bytes, export_graph: ExportGraph, folder: Path, stored: Precision, computed: Precision) -> Built:
    (folder / MODEL).write_bytes(with_metadata(model, export_graph.exportable, export_graph.form))
    ran = f"run by {pieces(open_interpreter(model, MODEL))}"
    return Built(stored, computed, checks=(ran,), batch=1)


def audited_work(folder: Path, _: Manifest) -> Iterator[Work]:
    yield from products(open_interpreter((folder / MODEL).read_bytes(), str(folder / MODEL)))


TARGET = Target(
    name="litert",
    precisions=("fp32", "fp16"),
    build=build,
    quantizer=Quantizer(
        methods=litert_quantizer.METHODS,
        lower=("fp16",),
        write=_write_int8,
        needs=("ai_edge_quantizer", "litert_torch"),
        corrects_biases=False,
    ),
    audit=audited_work,
    needs_module=True,
)
