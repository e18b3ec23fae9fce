"""A classifier as somebody else's ONNX file: a convolution, the means of its channels, and a linear layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NORMALIZATION = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")


def write_network(folder: Path) -> tuple[str, ...]:
    """Writes net.onnx and names.txt; returns what `edgeclf export` is given in that folder to take them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    weights = {
        "mix": random.normal(size=(64, 3, 3, 3)).astype(np.float32),
        "linear": random.normal(size=(64, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "mix"], ["mixed"]),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Gemm", ["means", "linear"], ["logits"]),
    ]
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])
    value = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(
        nodes, "net", [entry], [value], [numpy_helper.from_array(w, n) for n, w in weights.items()]
    )
    model = helper.make_model(graph, ir_version=8)
    model.opset_import[0].version = 17
    onnx.save(model, folder / "net.onnx")
    (folder / "names.txt").write_text("leaf\npagoda\nsky\n")
    return "net.onnx", "--labels", "names.txt", "--img-size", "32", *NORMALIZATION
