"""OpenVINO's INT8: what NNCF does with the options that it is given here."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgeclf_export.targets import ov_quantizer
from edgeclf_export.targets.ov_graph import read
from edgeclf_runtime.backends.ov import openvino_core


def two_convolutions(random: np.random.Generator, batch: int | str = "N") -> bytes:
    """(N, 3, 16, 16) float32 -> (N, 4) logits; `batch`: the N that it is fixed to."""
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "w3": (4, 16), "b3": (4,)}
    constants = [
        numpy_helper.from_array(random.normal(0, 1, shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    layers = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "w3", "b3"], ["logits"], transB=1),
    ]
    entry = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, 16, 16])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [batch, 4])
    graph = helper.make_graph(layers, "two convolutions", [entry], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("method", ov_quantizer.METHODS)
def test_corrected_biases_leave_less_than_a_tenth_of_the_mean_error(method: str) -> None:
    pytest.importorskip("nncf")
    random = np.random.default_rng(0)
    model, images = two_convolutions(random), random.random((64, 3, 16, 16)).astype(np.float32) ** 2

    def mean_logits(network: object) -> NDArray[np.float64]:
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled = openvino_core().compile_model(network, "CPU", hints)
        return np.mean([compiled(image[None])[0][0] for image in images], axis=0)

    wanted = mean_logits(read(model))
    plain, corrected = (
        np.abs(mean_logits(ov_quantizer.quantize(model, images, method, corrected=on)) - wanted).max()
        for on in (False, True)
    )
    assert corrected < plain / 10  # NNCF's fast correction leaves two thirds of it


def test_a_graph_of_a_fixed_batch_is_calibrated_in_such_batches() -> None:
    pytest.importorskip("nncf")
    images = np.random.default_rng(1).random((9, 3, 16, 16)).astype(np.float32)
    networks = [
        ov_quantizer.quantize(two_convolutions(np.random.default_rng(0), batch), images[:8], "min-max", corrected=True)
        for batch in ("N", 4)
    ]
    any_batch, fixed = (openvino_core().compile_model(network, "CPU") for network in networks)
    assert np.allclose(any_batch(images[:4])[0], fixed(images[:4])[0], atol=0.05)  # means of four and of one
    ov_quantizer.quantize(two_convolutions(np.random.default_rng(0), 4), images[:3], "min-max", corrected=False)
