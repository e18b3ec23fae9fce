"""The ONNX graph: one slim file, without external data, that every engine's model is made from."""

from __future__ import annotations

from typing import Any

from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import DataError

NEWEST_OPSET, NEWEST_IR = 20, 10  # what ONNX Runtime 1.18 and TensorRT 10.3 read: the oldest devices served
OLDEST_OPSET = 18
INPUT_NAME, OUTPUT_NAME, FEATURES_NAME = "images", "logits", "features"
TOKENS_NAME, EMBEDDINGS_NAME = "tokens", "embeddings"  # of encoders


def finish_graph(model: Any, *, slim: bool = True) -> bytes:
    """Slims an ONNX ModelProto and checks what bundles promise: opset, IR version, no external data, a valid graph.

    Without `slim` the nodes stay as they are: slimming would fold the int8 weights of Q/DQ into float ones.
    """
    import onnx
    import onnxslim

    if slim:
        model = onnxslim.slim(model)
    _strip_docs(model)
    model.ir_version = min(model.ir_version, NEWEST_IR)
    model.producer_name, model.producer_version = "edgeclf", ""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > NEWEST_OPSET:
        raise DataError(f"the exported model is of ONNX opset {opset}, devices read up to {NEWEST_OPSET}")
    onnx.checker.check_model(model)
    finished = bytes(model.SerializeToString())
    refuse_external_data(finished, "the exported model")
    return finished


def _strip_docs(model: Any) -> None:
    """Takes out what exporters leave behind: stack traces with local paths, docs. No engine reads them."""
    _strip_doc(model)
    for function in model.functions:
        _strip_doc(function)
        _strip_nodes(function.node)
    _strip_graph(model.graph)


def _strip_graph(graph: Any) -> None:
    for item in [graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        _strip_doc(item)
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Any) -> None:
    for node in nodes:
        _strip_doc(node)
        for attribute in node.attribute:
            attribute.doc_string = ""
            for branch in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                _strip_graph(branch)


def _strip_doc(item: Any) -> None:
    item.doc_string = ""
    del item.metadata_props[:]
