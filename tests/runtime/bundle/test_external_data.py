"""External data in ONNX files, wherever the format lets a tensor hide, with the onnx package as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.session import open_session


def external(location: str = "../secret.bin", name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def inline(name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.zeros(1, np.float32), name)


def graph(tensor: TensorProto | None = None, nodes: list[Any] | None = None) -> Any:
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes or [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        [tensor] if tensor is not None else [],
    )


def sparse(tensor: TensorProto) -> Any:
    return onnx.SparseTensorProto(values=tensor, indices=helper.make_tensor("i", TensorProto.INT64, [1], [0]), dims=[4])


def in_if(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("If", ["c"], ["y"], then_branch=graph(tensor), else_branch=graph())
    return helper.make_model(graph(nodes=[node]))


def in_nested_subgraphs(tensor: TensorProto) -> ModelProto:
    inner = helper.make_node("Loop", ["a", "b"], ["y"], body=graph(tensor))
    return helper.make_model(graph(nodes=[helper.make_node("If", ["c"], ["y"], then_branch=graph(nodes=[inner]))]))


def in_sparse_initializer(tensor: TensorProto) -> ModelProto:
    whole = graph()
    whole.sparse_initializer.append(sparse(tensor))
    return helper.make_model(whole)


def in_function(tensor: TensorProto) -> ModelProto:
    body = [helper.make_node("Constant", [], ["y"], value=tensor)]
    function = helper.make_function("local", "F", [], ["y"], body, [helper.make_opsetid("", 18)])
    return helper.make_model(graph(), functions=[function])


def in_function_default(tensor: TensorProto) -> ModelProto:
    opset = [helper.make_opsetid("", 18)]
    default = helper.make_attribute("a", tensor)
    function = helper.make_function("local", "F", [], ["y"], [], opset, attribute_protos=[default])
    return helper.make_model(graph(), functions=[function])


def in_attributes_of_lists(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("Custom", ["x"], ["y"], domain="d", many=[inline(), tensor])
    return helper.make_model(graph(nodes=[node]))


def in_list_of_graphs(tensor: TensorProto) -> ModelProto:
    node = helper.make_node("Custom", ["x"], ["y"], domain="d", many=[graph(), graph(tensor)])
    return helper.make_model(graph(nodes=[node]))


def in_training(tensor: TensorProto) -> ModelProto:
    model = helper.make_model(graph())
    model.training_info.add(initialization=graph(), algorithm=graph(tensor))
    return model


PLACES: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initializer": lambda tensor: helper.make_model(graph(tensor)),
    "node attribute": lambda t: helper.make_model(graph(nodes=[helper.make_node("Constant", [], ["y"], value=t)])),
    "sparse attribute": lambda t: helper.make_model(
        graph(nodes=[helper.make_node("Constant", [], ["y"], sparse_value=sparse(t))])
    ),
    "If": in_if,
    "nested subgraphs": in_nested_subgraphs,
    "sparse initializer": in_sparse_initializer,
    "function body": in_function,
    "default of a function's attribute": in_function_default,
    "list of tensors": in_attributes_of_lists,
    "list of graphs": in_list_of_graphs,
    "training": in_training,
}


def says_external(data: bytes) -> bool:
    try:
        refuse_external_data(data, "m.onnx")
    except BundleError as error:
        assert "external data" in str(error)
        return True
    return False


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_a_tensor_can_be(place: str) -> None:
    assert says_external(PLACES[place](external()).SerializeToString())
    assert not says_external(PLACES[place](inline()).SerializeToString())


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", "model.onnx.data", ""])
def test_no_location_of_external_data_is_allowed(location: str) -> None:
    assert says_external(PLACES["initializer"](external(location)).SerializeToString())


def test_what_onnx_itself_saves_with_external_data_is_refused_and_without_it_passes(tmp_path: Path) -> None:
    model = tiny.onnx_linear(*tiny.linear_weights(0))
    onnx.save_model(model, tmp_path / "one.onnx")
    onnx.save_model(model, tmp_path / "two.onnx", save_as_external_data=True, size_threshold=0)
    stored = onnx.load(tmp_path / "two.onnx", load_external_data=False)
    assert any(tensor.data_location == TensorProto.EXTERNAL for tensor in stored.graph.initializer)
    assert says_external((tmp_path / "two.onnx").read_bytes())
    assert not says_external((tmp_path / "one.onnx").read_bytes())


def test_bytes_cut_short_are_refused_where_onnx_refuses_them() -> None:
    data = tiny.onnx_linear(*tiny.linear_weights(0)).SerializeToString()
    for size in range(0, len(data), 37):
        try:
            onnx.load_model_from_string(data[:size])
        except Exception:  # protobuf's DecodeError, wrapped differently by version
            with pytest.raises(BundleError):
                refuse_external_data(data[:size], "m.onnx")


def test_flipped_bytes_never_let_external_data_through() -> None:
    """Where onnx still reads the damaged file and sees external data, the scan sees it too."""
    data = PLACES["If"](external()).SerializeToString()
    random = np.random.default_rng(0)
    still_external = 0
    for _ in range(3000):
        damaged = bytearray(data)
        damaged[int(random.integers(len(data)))] = int(random.integers(256))
        try:
            model = onnx.load_model_from_string(bytes(damaged))
        except Exception:  # as above
            continue
        branches = [a.g for node in model.graph.node for a in node.attribute]
        tensors = [t for g in branches for t in g.initializer]
        if any(t.data_location == TensorProto.EXTERNAL for t in tensors):
            still_external += 1
            with pytest.raises(BundleError):
                refuse_external_data(bytes(damaged), "m.onnx")
    assert still_external > 1000


@pytest.mark.parametrize("data", [b"garbage" * 9, b"\x89PNG\r\n\x1a\n" + bytes(99), b"\0", b"\xff" * 40])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="not an ONNX file"):
        refuse_external_data(data, "m.onnx")


def test_an_empty_file_is_reported_as_empty() -> None:
    with pytest.raises(BundleError, match="0 bytes"):
        refuse_external_data(b"", "m.onnx")


def varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def test_a_field_number_that_only_a_parser_of_32_bits_would_see_is_refused() -> None:
    inner = graph(external()).SerializeToString()
    hidden = varint((1 << 32) + (7 << 3) + 2) + varint(len(inner)) + inner
    with pytest.raises(BundleError):
        refuse_external_data(b"\x08\x0a" + hidden, "m.onnx")


def test_nesting_without_end_is_refused() -> None:
    inner = graph().SerializeToString()
    for _ in range(400):  # graph -> node -> attribute -> graph
        for tag in (6, 5, 1):
            inner = varint(tag << 3 | 2) + varint(len(inner)) + inner
    with pytest.raises(BundleError):
        refuse_external_data(varint(7 << 3 | 2) + varint(len(inner)) + inner, "m.onnx")


def test_onnx_runtimes_own_format_is_refused() -> None:
    with pytest.raises(BundleError, match="own format"):
        refuse_external_data(b"\x20\0\0\0ORTM" + bytes(99), "m.ort")


def test_the_engine_never_sees_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    bundle: Bundle = tiny.build(tmp_path / "b", "onnx")
    (bundle.path / "model.onnx").write_bytes(PLACES["initializer"](external()).SerializeToString())
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: pytest.fail("the engine was opened"))
    with pytest.raises(BundleError, match="external data"):
        open_session(tiny.reseal(bundle.path))
