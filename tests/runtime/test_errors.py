"""Of an error that a library raises, the line that says the cause: each message here is a real one, raised by it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.errors import DataError, one_line


def line_of(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011: the libraries' own exceptions share no narrower base
        call(*arguments, **named)
    return one_line(caught.value)


def onnx_file(kind: str, shape: tuple[int, int] = (4, 2)) -> bytes:
    """One node of `kind` on (N, 3) float32 and a constant: a float32 matrix, or where to reshape to."""
    onnx = pytest.importorskip("onnx")
    constant = np.array(shape) if kind == "Reshape" else np.zeros(shape, np.float32)
    given, taken = (onnx.helper.make_tensor_value_info(name, 1, dims) for name, dims in (("x", ["N", 3]), ("y", None)))
    weights = [onnx.numpy_helper.from_array(constant, "w")]
    graph = onnx.helper.make_graph([onnx.helper.make_node(kind, ["x", "w"], ["y"])], "g", [given], [taken], weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_one_line_keeps_why_onnx_runtime_can_not_load_or_run_a_graph() -> None:
    ort = pytest.importorskip("onnxruntime")
    assert line_of(ort.InferenceSession, b"no model") == "Failed to load model because protobuf parsing failed."
    assert line_of(ort.InferenceSession, onnx_file("Nope")).endswith(
        "No Op registered for Nope with domain_version of 17"
    )
    session = ort.InferenceSession(onnx_file("Reshape", (2, 2)))
    line = line_of(session.run, None, {"x": np.zeros((1, 3), np.float32)})
    assert "The input tensor cannot be reshaped" in line and ".h:" not in line


def test_one_line_keeps_why_onnx_can_not_convert_an_opset() -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import version_converter

    pair = onnx.helper.make_node("QuantizeLinear", ["x", "w"], ["y"], output_dtype=onnx.TensorProto.INT8)
    given, taken = (onnx.helper.make_tensor_value_info(name, kind, [1]) for name, kind in (("x", 1), ("y", 3)))
    scale = onnx.numpy_helper.from_array(np.ones((), np.float32), "w")
    graph = onnx.helper.make_graph([pair], "g", [given], [taken], [scale])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    line = line_of(version_converter.convert_version, model, 20)
    assert line.startswith("Attribute output_dtype is not supported for Opset Version 20")


def test_one_line_keeps_what_openvino_can_not_read() -> None:
    pytest.importorskip("openvino")
    read = openvino_core().read_model
    assert line_of(read, b"no model").startswith("Unable to read the model.")
    assert line_of(read, onnx_file("Nope")) in (
        "No conversion rule found for operations: Nope-17",
        "OpenVINO does not support the following ONNX operations: Nope",  # 2025.0
    )
    assert line_of(read, onnx_file("MatMul")).startswith("Incompatible MatMul matrix dimension.")


def test_one_line_keeps_torchs_reason_which_weights_do_not_fit_and_what_a_file_holds() -> None:
    torch = pytest.importorskip("torch")
    weights = {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}
    assert line_of(torch.nn.Linear(3, 2).load_state_dict, weights).startswith("size mismatch for weight")
    assert line_of(torch.load, io.BytesIO(b"no pickle"), weights_only=True) == "Unsupported operand 110"


class Broken:
    """A data set without an image that can be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise DataError("a: b.png: is gone")


def test_an_error_of_a_data_worker_comes_without_the_traceback_around_it() -> None:
    data = pytest.importorskip("torch.utils.data")
    assert (
        line_of(list, data.DataLoader(Broken(), num_workers=1, multiprocessing_context="fork")) == "a: b.png: is gone"
    )


def test_an_error_without_a_text_is_named_and_a_long_one_is_cut() -> None:
    assert one_line(ValueError("\n  \n")) == "ValueError"
    assert one_line(ValueError("\tone   two\nthree"), 5) == "one t …"
    assert one_line(ValueError("long " * 100), None) == "long " * 99 + "long"
