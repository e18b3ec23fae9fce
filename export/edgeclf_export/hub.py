"""The hub: one slim ONNX file, without external data, that every engine's model is made from."""

from __future__ import annotations

from typing import Any

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.onnx_scan import refuse_external_data

NEWEST_OPSET, NEWEST_IR = 20, 10  # what ONNX Runtime 1.18 and TensorRT 10.3 read: the oldest devices served
OLDEST_OPSET = 18
INPUT_NAME, OUTPUT_NAME = "images", "logits"


def finish_hub(model: Any) -> bytes:
    """Slims an ONNX ModelProto and checks the hub's promises: opset, IR version, no external data, a valid graph."""
    import onnx
    import onnxslim

    model = onnxslim.slim(model)
    _strip_notes(model)
    model.ir_version = min(model.ir_version, NEWEST_IR)
    model.producer_name, model.producer_version = "edgeclf", ""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > NEWEST_OPSET:
        raise DataError(
            f"the model needs ONNX opset {opset}, devices read up to {NEWEST_OPSET}; export it with a lower one"
        )
    onnx.checker.check_model(model)
    finished = bytes(model.SerializeToString())
    refuse_external_data(finished, "the exported model")
    return finished


def _strip_notes(model: Any) -> None:
    """Takes out what exporters leave behind: stack traces with local paths, docs. No engine reads them."""
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in [model.graph, *model.functions]:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for item in [*graph.node, *graph.value_info, *getattr(graph, "initializer", ())]:
            del item.metadata_props[:]
            item.doc_string = ""
    for value in [*model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
        value.doc_string = ""
